"""`GET /metrics`: what is measured (`sources`), and how it is written (`answer`)."""
