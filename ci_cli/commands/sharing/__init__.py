"""The commands of a shared installation: keys, projects, secrets and the audit."""
