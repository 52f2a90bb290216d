"""The rooms of the REST API that have no page of their own."""
