"""Reading logs: lines as plain text, and the lines that matter after a failure."""
