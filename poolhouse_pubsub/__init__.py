"""A Pub/Sub emulator that behaves like the service and whose clock and faults a test commands.

`server.EmulatorServer` runs it inside a process, `python -m poolhouse_pubsub` alone. The rules live in pure modules
(`subscription`, `ordering`, `leases`, `snapshots` …) that read no clock; `service` turns them into RPCs with the
service's error codes; `grpc_server` and `rest` are the two thin transports, `push` the third way out.
"""
