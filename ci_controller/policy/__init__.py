"""Pure decisions about limits, retries and verdicts."""
