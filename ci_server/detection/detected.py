"""What the detection of a project says: its steps, what of them is prepared, and where they run."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ci_common.spec import PlannedStep

SETUP = "setup"
"""The name of the step that is the setup."""
HOME = "${CI_ENV:-$HOME}"
"""Where a setup keeps what it makes, in shell text: outside of the workspace, in a directory of the job's own."""
OWN_HOME = '[ -n "${CI_ENV-}" ] || [ "${PWD#/ci/}" != "$PWD" ] || CI_ENV="${PWD%/workspace*}/environment"\n'
"""Has `HOME` lie in the job's own directory where the job is not in a container of its own, which has `/ci`."""


@dataclass(frozen=True, slots=True)
class Detected:
    """How a project is set up and tested."""

    steps: tuple[PlannedStep, ...]
    setup: int = 0
    """How many of the first steps are the setup."""
    inputs: tuple[str, ...] = ()
    """The files that the setup reads, as sorted paths relative to the project."""
    is_pinned: bool = False
    """The same inputs always give the same outcome."""
    image: str | None = None
    """The image that the project asks for; None for the default."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables that the job gets unless it has its own."""
    is_python: bool = False
    preambles: tuple[str, ...] = ()
    """What steps begin with that call functions, such as `ci_install`."""
    needs_pip: str = ""
    """Why nothing but pip may install; empty if something else may."""

    def saying(self, notes: list[str]) -> "Detected":
        """Return the same with lines for the log, in the first step that is not prepared."""
        text = "".join(map(say, notes))
        steps = list(self.steps)
        steps[self.setup] = steps[self.setup].model_copy(update={"shell": f"{text}{steps[self.setup].shell}"})
        return replace(self, steps=tuple(steps))


def shell_steps(texts: dict[str, str]) -> tuple[PlannedStep, ...]:
    """Return steps by name, each of which stops at the first command that fails."""
    return tuple(PlannedStep(name=name, shell=text, stop_at_failure=True) for name, text in texts.items())


def say(text: str) -> str:
    """Return the shell text that writes a line of its own into the log."""
    return f"echo {shlex.quote(f'ci: {text}')}\n"


def lines(*texts: str) -> str:
    """Return shell text of the lines that are not empty."""
    return "\n".join(_filled(texts))


def _filled(texts: tuple[str, ...]) -> Iterator[str]:
    yield from (text.strip("\n") for text in texts if text.strip())
