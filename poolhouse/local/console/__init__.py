"""The console: a web page that shows what a local stack does, and does what people do to its tasks.

A process of this machine that uses public interfaces only: the pipeline's HTTP API, the backend's protocol and its
log files, the storage server, and the administration of the Pub/Sub emulator where that is ours; it leads to the
emulator's own pages. On the embedded stack the supervisor starts it when its address is opened for the first time; on
any other `./invoke console` runs it.
"""
