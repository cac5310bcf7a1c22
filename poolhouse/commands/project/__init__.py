"""Commands on the project itself: made, checked, locked, built, documented."""
