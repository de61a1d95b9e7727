"""What the command shows of the records of runs, and their signatures."""
