"""What a shared installation has besides jobs: projects with settings, and the audit."""
