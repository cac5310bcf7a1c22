"""What tests of a pipeline stand on: fixtures, servers, doubles."""
