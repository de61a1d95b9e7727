"""`make demo`: submits the example project and follows it to its verdict, with or without a Docker engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).with_name("wordcount")
CI = [sys.executable, "-m", "ci_cli"]
IMAGE_REASONS = {"image_not_found", "image_pull_failed"}


def say(text: str) -> None:
    """Print a line of the demonstration to standard error."""
    print(f"demo: {text}", file=sys.stderr, flush=True)


def run(**environment: str) -> int:
    """Run the example project and return the exit status of `ci run`."""
    command = [*CI, "run", str(PROJECT)]
    return subprocess.run(command, env=os.environ | environment, check=False).returncode


def image_is_missing() -> bool:
    """Return whether the last submitted job ended because its image is not available."""
    listing = subprocess.run([*CI, "list", "--limit", "1", "--json"], capture_output=True, text=True, check=True)
    jobs = json.loads(listing.stdout)
    return bool(jobs) and (jobs[0]["reason"] or {}).get("code") in IMAGE_REASONS


def main() -> int:
    """Return 0 if the example's tests passed."""
    say(f"$ ci run {PROJECT.relative_to(Path.cwd()) if PROJECT.is_relative_to(Path.cwd()) else PROJECT}")
    status = run()
    if status == 75 and image_is_missing():
        say("an engine answers, but the image is not available; running the job as a process instead")
        status = run(CI_RUNTIME="process")
    if status != 0:
        say(f"the job did not succeed (exit status {status})")
        return status
    say(f"that was the main job, end to end. Next: {Path(sys.executable).with_name('ci')} run PATH-OF-YOUR-PROJECT")
    return 0


if __name__ == "__main__":
    sys.exit(main())
