"""What is known of an attempt besides its verdict: what the job said about itself, what it used, what it ran in."""

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, get_args

Level = Literal["notice", "warning", "error"]
Source = Literal["job", "matcher", "sarif", "ci"]

MOST_ANNOTATIONS: Final = 100
MOST_OUTPUTS: Final = 100
MOST_OUTPUT_BYTES: Final = 64 * 1024
"""Of all outputs of a job, with their names."""
MOST_SUMMARY_BYTES: Final = 64 * 1024
MOST_MESSAGE: Final = 1000
"""Characters of the message of an annotation."""
MOST_PATH: Final = 500
"""Characters of the path and of the title of an annotation."""
LARGEST_LINE: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Annotation:
    """A remark on a place in the project."""

    level: Level
    message: str
    source: Source
    """Who says so: `job` by a line of its log, `matcher` for the output of a known tool, `sarif` for a report, `ci` for
    what is wrong with what the job wrote."""
    tool: str | None = None
    """Which tool has found it, as far as that is known."""
    title: str | None = None
    """A few words, as the name of a rule."""
    file: str | None = None
    """As the job wrote it: relative to the project as a rule, but anything may stand there."""
    line: int | None = None
    """From 1."""
    column: int | None = None
    """From 1."""
    end_line: int | None = None
    log_offset: int | None = None
    """The byte offset in the log of the line that says so."""

    @classmethod
    def bounded(cls, level: Level, message: str, source: Source, **more: Any) -> "Annotation":
        """Return an annotation whose texts are cut to what is kept, and whose numbers are left out if they cannot be.

        Empty texts count as left out.
        """
        for name in ("tool", "title", "file"):
            more[name] = _cut(more.get(name) or "", MOST_PATH) or None
        for name in ("line", "column", "end_line"):
            number = more.get(name)
            more[name] = number if type(number) is int and 0 < number <= LARGEST_LINE else None
        return cls(level, _cut(message, MOST_MESSAGE), source, **more)

    @classmethod
    def stored(cls, data: dict[str, Any]) -> "Annotation":
        """Return what `asdict` gave. Raises ValueError, TypeError."""
        if data.get("level") not in get_args(Level) or data.get("source") not in get_args(Source):
            raise ValueError(f"this is no annotation: {data}")
        return cls(**data)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass(frozen=True, slots=True)
class Results:
    """What a job said about itself."""

    summary: str | None = None
    """Markdown, as the job wrote it. Whatever shows it has to make it harmless."""
    annotations: tuple[Annotation, ...] = ()
    outputs: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.summary or self.annotations or self.outputs)

    def stored(self) -> dict[str, Any]:
        """Return the JSON form, from which `from_stored` makes it again."""
        return asdict(self)

    @classmethod
    def from_stored(cls, data: dict[str, Any]) -> "Results":
        """Return what `stored` gave. Raises ValueError, TypeError, KeyError."""
        annotations = tuple(Annotation.stored(each) for each in data["annotations"])
        return cls(data["summary"], annotations, dict(data["outputs"]))


@dataclass(frozen=True, slots=True)
class Sample:
    """What an attempt used up to a moment; None for what cannot be known."""

    seconds: float
    """Since its code could start."""
    memory: int | None = None
    """Bytes at that moment."""
    cpu_seconds: float | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    received_bytes: int | None = None
    sent_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """What an attempt used in all; None for what cannot be known."""

    peak_memory: int | None = None
    """Bytes: of the container, or of the largest process where there is none."""
    cpu_seconds: float | None = None
    """On all processors together."""
    read_bytes: int | None = None
    """From disks; what was cached does not count."""
    written_bytes: int | None = None
    received_bytes: int | None = None
    """From networks."""
    sent_bytes: int | None = None
    samples: tuple[Sample, ...] = ()
    """Of attempts that ran for long."""

    def stored(self) -> dict[str, Any]:
        """Return the JSON form, from which `from_stored` makes it again."""
        return asdict(self)

    @classmethod
    def from_stored(cls, data: dict[str, Any]) -> "ResourceUse":
        """Return what `stored` gave. Raises TypeError, KeyError."""
        return cls(**data | {"samples": tuple(Sample(**each) for each in data["samples"])})


@dataclass(frozen=True, slots=True)
class UsedImage:
    """The image that an attempt ran in."""

    id: str
    """Its content's digest, as the engine names it. That of the prepared environment, if it started from one."""
    digest: str | None = None
    """What a registry has it by, as in `name@sha256:…`; None for one that was made here."""


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request came from."""

    address: str | None = None
    """None for a Unix socket."""
    user_agent: str | None = None
