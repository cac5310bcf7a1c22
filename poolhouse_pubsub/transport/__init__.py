"""gRPC, REST and the administration calls on one port."""
