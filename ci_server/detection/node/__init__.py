"""The plan for a Node.js project: package manager, image, setup and steps."""
