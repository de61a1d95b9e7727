"""Jobs over HTTP: submissions, listings, views, deletion."""
