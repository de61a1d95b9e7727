"""The composition roots of the commands. Only these modules import server and controller; commands load them late."""
