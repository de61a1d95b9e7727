"""Which queued job starts next, and what it waits for: slots, images, disk space."""
