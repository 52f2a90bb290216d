"""The groups of the REST API, one module each."""
