"""The console as a service on Google Cloud: who is there (Identity-Aware Proxy), who may act, what was done by whom.

Nothing here knows a local stack, and nothing of it is in the console on a laptop, which is on the loopback address.
"""
