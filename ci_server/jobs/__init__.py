"""Jobs over HTTP: the endpoints, and what they need."""
