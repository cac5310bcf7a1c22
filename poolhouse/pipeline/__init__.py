"""What the API, the workers and both stacks share: settings, topology, messages, publishing, records, object layout."""
