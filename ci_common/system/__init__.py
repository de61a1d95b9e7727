"""Linux and asyncio utilities that know nothing of jobs."""
