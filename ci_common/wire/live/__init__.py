"""The events of streams as models: those of a job, those of all jobs, and those for agents."""
