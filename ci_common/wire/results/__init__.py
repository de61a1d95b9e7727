"""What a run has left, over HTTP: its record, reports, trends, artifacts, and the index of its log."""
