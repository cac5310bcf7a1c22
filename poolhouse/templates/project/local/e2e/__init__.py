"""The cases of `invoke e2e`."""
