"""One supervisor per active attempt: observe, plan, act, until the job has completed."""
