"""The commands for people who use a pipeline: submit, look, replay. They talk to its API and nothing else.

So each works on the local stack and on a deployed pipeline alike: `client.Api` is all that differs.
"""
