"""The local stack: what `invoke up` starts on a laptop, and the test doubles that ship with it."""
