"""Where a worker's messages come from: subscriptions, the streams on them, and what becomes of a message."""
