"""What a terminal shows of a job while it runs, and what is told of one that failed."""
