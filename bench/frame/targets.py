"""The targets of the figures: the table of targets, computed row by row."""

import math
from dataclasses import dataclass

from bench.frame.model import Better, Figure, Results


@dataclass(frozen=True, slots=True)
class Target:
    """One row: a figure and its target."""

    title: str
    key: str
    """The figure's."""
    ratio: float | None = None
    """How many times better than the reference."""
    bound: float | None = None
    """An absolute value, in the figure's unit."""
    unit: str = "ms"
    better: Better = Better.LESS
    """For a bound: the figure's direction."""
    percent: float = 50
    """Which percentile of ours counts."""
    aim: str = ""
    """A further aim, for people."""

    def is_met(self, figure: Figure) -> bool:
        """Return whether the figure meets the target. It does not without a reference to compare with."""
        ours = figure.ours.percentile(self.percent)
        if self.bound is not None:
            assert (self.unit, self.better) == (figure.unit, figure.better), self.key
            return ours <= self.bound if self.better is Better.LESS else ours >= self.bound
        assert self.ratio is not None, "a target is a ratio or a bound"
        return self.reached(figure) >= self.ratio

    def reached(self, figure: Figure) -> float:
        """Return the ratio at the percentile that counts, NaN without a reference."""
        if figure.reference is None:
            return math.nan
        return figure.advantage(figure.ours.percentile(self.percent), figure.reference.percentile(self.percent))

    @property
    def wanted(self) -> str:
        """The target for people."""
        if self.bound is not None:
            word = "at least" if self.better is Better.MORE else "at most"
            return f"{word} {self.bound:g} {self.unit}{self.aim}"
        return "not worse" if self.ratio == 1 else f"at least {self.ratio:.3g} times{self.aim}"


TARGETS = (
    Target("submit to first byte of the job's own output, warm, p50", "start.warm", ratio=10, aim=", aim 20"),
    Target("the same, cold", "start.cold", ratio=1),
    Target("last byte written to `complete` received, p50", "end", bound=5),
    Target("the same, p99", "end", bound=15, percent=99),
    Target("200 trivial container jobs at once", "throughput.cold", ratio=0.95),
    Target("a burst of 50 into a pool of 50", "throughput.burst", ratio=2.5),
    Target("submissions on PostgreSQL, beside a bare psycopg loop", "database.submissions.bare", ratio=0.6),
    Target("pick-ups on PostgreSQL, beside a bare psycopg loop", "database.pickups.bare", ratio=0.6),
    Target("log, container to one SSE reader", "log.sse", ratio=20),
    Target("log by `GET /log`", "log.get", ratio=100),
    Target("container write to reader receives, p50", "log.latency_p50", bound=1),
    Target("the same, p99", "log.latency_p99", bound=5),
    Target(
        "one chatty job, 1,000 readers: share of them that got all bytes",
        "readers.whole",
        bound=100,
        unit="%",
        better=Better.MORE,
    ),
    Target("the same: server CPU per event, against preformatted bytes", "readers.cpu", ratio=1 / 1.5),
    Target("the same: resident per idle reader in the server", "readers.memory", bound=10, unit="KB"),
    Target("`POST /jobs`, durable, 64 connections, against the bare framework", "store.post", ratio=0.5),
    Target("100 MB upload, against writing the stream raw to disk", "store.upload", ratio=0.8),
    Target("the same: memory the server grows by", "store.upload_memory", bound=8, unit="MB"),
    Target("`GET /jobs` with 1,000,000 rows, against none", "store.list", ratio=0.9),
    Target("job pick-up with 1,000,000 rows, against none", "store.pickup", ratio=0.9),
    Target("packing 20,000 files of 195 MB: source code", "packing.source", ratio=1 / 1.2),
    Target("the same, compressed already", "packing.compressed", ratio=1 / 1.2),
    Target("the same, one line repeated", "packing.repetitive", ratio=1 / 1.2),
    *(
        Target(f"upload of 20,000 files, {what}: {unit}, against {whom}", f"upload.{kind}.{unit}.{key}", ratio=ratio)
        for key, whom in (("rsynccompressed", "`rsync -az`"), ("zipandcurl", "`zip` and `curl`"))
        for kind, what in (("full", "all"), ("unchanged", "none changed"), ("one", "one changed"))
        for unit, ratio in (("seconds", 1.0), ("bytes", 1 / 1.1))
    ),
    Target("submit to verdict of a one-second pytest job", "verdict.pytest", ratio=1),
    Target("an edit of one line to its verdict", "rerun.verdict", ratio=1.3),
    Target("the same, beyond the tests in a container that has everything", "rerun.more", bound=0.3, unit="s"),
    Target("an edit of one line to the first output of its tests", "rerun.first", ratio=1 / 1.5),
    Target("the same without an engine, against tox", "tools.tox", ratio=1),
    Target("the same, against nox that installs nothing", "tools.noxwithout", ratio=1),
    Target("the share of warm, prepared starts", "rerun.share", bound=98, unit="%", better=Better.MORE),
    Target("the first run, with the project's downloads there", "first.downloads", ratio=3),
    Target("the first run, with nothing there", "first.nothing", ratio=1),
    Target("the end of 50,000 tests to their summary", "reports.summary", bound=1000),
    Target("the same, on PostgreSQL", "reports.summary.postgresql", bound=1000),
    *(
        Target(f"50,000 tests: {what}", f"reports.page.{key}", bound=100)
        for key, what in (
            ("failed", "those that failed"),
            ("first", "the first page"),
            ("slowest", "the slowest"),
            ("search", "a search"),
        )
    ),
    Target("reads of a job with keys, limits and access log, against without", "guards.read", ratio=0.85),
    Target("submissions with keys, limits, audit and access log, against without", "guards.submit", ratio=0.85),
    Target("the page: 10,000,000 lines, opened at their end", "page.end", bound=1000),
    Target("the same, the first time after a start", "page.end.cold", bound=1000),
    Target("the same, at a linked line in the middle", "page.middle", bound=1000),
    Target("the same, scrolling: from frame to frame", "page.scroll", bound=17, percent=95),
    Target("the same, a search of all", "page.search", bound=10, unit="s"),
    Target("the same, memory of the tab", "page.memory", bound=300, unit="MB"),
    Target("the page: 200,000 lines a second: from frame to frame", "page.grow.frames", bound=100, percent=95),
    Target("the same: logs whose digest was the job's", "page.grow.exact", bound=100, unit="%", better=Better.MORE),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A target beside the measured figure."""

    title: str
    ours: str
    reference: str
    ratio: str
    target: str
    met: str


def rows(results: Results, targets: tuple[Target, ...] = TARGETS) -> list[Row]:
    """Return the table of targets, also with rows for figures that were not measured."""
    return [_row(target, results.figure(target.key)) for target in targets]


def _row(target: Target, figure: Figure | None) -> Row:
    if figure is None:
        return Row(target.title, "", "", "", target.wanted, "not measured")
    reference = figure.reference
    return Row(
        target.title,
        quantity(figure.ours.percentile(target.percent), figure.unit),
        "" if reference is None else f"{quantity(reference.percentile(target.percent), figure.unit)}, {reference.name}",
        times(target.reached(figure)),
        target.wanted,
        "yes" if target.is_met(figure) else "**no**",
    )


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit and three significant digits."""
    if math.isnan(value):
        return ""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value and math.isfinite(value) else 0
    return f"{value:,.{min(digits, 3)}f} {unit}".rstrip()


def times(ratio: float) -> str:
    """Return a ratio for people, or nothing if it is unknown."""
    return "" if math.isnan(ratio) else f"{quantity(ratio, 'times')}"
