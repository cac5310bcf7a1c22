"""A canary: a new release beside the present one, watched, then promoted or taken back."""
