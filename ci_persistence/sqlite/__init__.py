"""The storage protocols on SQLite."""
