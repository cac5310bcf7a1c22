"""Cloud Storage over HTTP: connections that are kept, small JSON objects."""
