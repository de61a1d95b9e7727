"""Where jobs run: one protocol, with Docker and plain processes behind it."""
