"""The runtime of plain processes."""
