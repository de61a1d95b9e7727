"""Whether two runs of a setup have left the same. `program`, `trees` and `noise` run in a process of their own."""
