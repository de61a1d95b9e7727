"""The jobs of a self-test run: what each writes, how it is read, and what is checked."""
