"""The files of an attempt, as every package reads them: the paths, the log as events, the steps."""
