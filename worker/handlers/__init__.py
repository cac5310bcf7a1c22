"""The task types that ship, one module each: put your own beside them."""
