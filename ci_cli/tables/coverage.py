"""Coverage as text for people."""

from collections.abc import Iterator, Sequence

from ci_client.changed_lines import Range, Uncovered
from ci_client.escapes import visible

_SHOWN_FILES = 10


def changed_coverage(found: Uncovered) -> Iterator[str]:
    """Yield which changed lines are not covered, and of which files that is not known."""
    lines, measured = found.count, len(found.lines) + len(found.covered)
    if lines:
        yield f"{lines} changed {'line is' if lines == 1 else 'lines are'} not covered, since {visible(found.base)}"
    elif measured:
        yield f"no changed line lacks coverage, since {visible(found.base)}"
    else:
        yield f"no file that has changed since {visible(found.base)} can be compared"
    for path, ranges in found.lines.items():
        yield visible(f"  {path}: {shown(ranges)}")
    yield from _named("changed again since the job, so not compared", found.other)
    yield from _named("without coverage in the job", found.unknown)
    if not found.is_checked and measured:
        yield "  the files of the job are not known any more, so lines may have moved since"


def shown(ranges: Sequence[Range]) -> str:
    """Return ranges of lines as people write them."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _named(what: str, paths: Sequence[str]) -> Iterator[str]:
    if paths:
        more = f", and {len(paths) - _SHOWN_FILES} more" if len(paths) > _SHOWN_FILES else ""
        yield visible(f"  {what}: {', '.join(paths[:_SHOWN_FILES])}{more}")
