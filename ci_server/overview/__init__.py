"""What is shown of many jobs at once: their changes, the queue, and how projects go."""
