"""Whether a worker gets on with its work: what tells it, who may ask, and what happens where it does not."""
