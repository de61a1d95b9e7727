"""The command line, `ci`, and the composition roots that put client, server and controller together."""
