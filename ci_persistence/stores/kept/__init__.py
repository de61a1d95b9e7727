"""What is kept of jobs and for later jobs: artifacts, logs, records, environments and caches."""
