"""What the commands share that make jobs: sending a project, following the job, saving what it has left."""
