"""A job's output, both as shell text for /bin/sh and as the exact bytes that it writes.

The shell text uses only builtins, `cat` and `sleep`, so that the smallest image will do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Say:
    """Arbitrary bytes."""

    data: bytes

    def shell(self) -> str:
        return "printf '" + "".join(_in_format(byte) for byte in self.data) + "'"

    def output(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class Count:
    """Numbered lines, as fast as the shell can: `PREFIX N PADDING`, N from `first` up to but not including `end`."""

    prefix: str
    first: int
    end: int
    padding: str

    def shell(self) -> str:
        line = f'"{self.prefix} $i {self.padding}"'
        return f"i={self.first}; while [ $i -lt {self.end} ]; do echo {line}; i=$((i+1)); done"

    def output(self) -> bytes:
        return "".join(f"{self.prefix} {n} {self.padding}\n" for n in range(self.first, self.end)).encode()


@dataclass(frozen=True, slots=True)
class LongLine:
    """One line of `len(word) * 2**doublings` bytes."""

    word: str
    doublings: int

    def shell(self) -> str:
        return f"s={self.word}; " + "s=$s$s; " * self.doublings + 'echo "$s"'

    def output(self) -> bytes:
        return self.word.encode() * (1 << self.doublings) + b"\n"


@dataclass(frozen=True, slots=True)
class Show:
    """A file of the project."""

    name: str
    data: bytes

    def shell(self) -> str:
        return f"cat {self.name}"

    def output(self) -> bytes:
        return self.data


MADE = '"${CI_ENV:-/tmp}/selftest-made"'
"""The file that setups make, in shell text: in the environment of a job that runs as a process, or in its container."""


@dataclass(frozen=True, slots=True)
class Spoil:
    """Shows what a setup has made, and changes it, which no other job may see."""

    made: bytes

    def shell(self) -> str:
        return f"cat {MADE}; echo spoiled >>{MADE}"

    def output(self) -> bytes:
        return self.made


@dataclass(frozen=True, slots=True)
class Pause:
    """No output for some tenths of a second."""

    tenths: int

    def shell(self) -> str:
        return f"sleep {self.tenths / 10:g}"

    def output(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class Disturb:
    """Signals the step's process group and the shell that runs the steps, and tries to truncate the log.

    It writes nothing. It opens the log only if SELFTEST_REOPENS says that the log cannot be truncated.
    """

    signal: str

    def shell(self) -> str:
        return "\n".join(
            (
                f"trap '' {self.signal}",
                f"kill -{self.signal} 0",
                f"kill -{self.signal} $PPID",
                f"trap - {self.signal}",
                '[ -z "$SELFTEST_REOPENS" ] || { echo lost >/dev/fd/1; } 2>/dev/null || :',
            )
        )

    def output(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class Report:
    """Writes a test report, of tests that pass and then of tests that fail."""

    passed: int
    failed: int

    def shell(self) -> str:
        def tests(name: str, number: int, content: str) -> str:
            test = f'<testcase classname=\\"c\\" name=\\"{name} $i\\">{content}</testcase>'
            return f'i=0; while [ $i -lt {number} ]; do echo "{test}"; i=$((i+1)); done'

        passed, failed = tests("passed", self.passed, ""), tests("failed", self.failed, "<failure>no $i</failure>")
        begin, end = "echo '<testsuite name=\"s\">'", "echo '</testsuite>'"
        return f'{{ {begin}; {passed}; {failed}; {end}; }} >"$CI_REPORTS/tests.xml"'

    def output(self) -> bytes:
        return b""

    @property
    def tests(self) -> list[tuple[str, str]]:
        """Name and status of each, in order."""
        return [
            (f"{status} {number}", status)
            for status, count in (("passed", self.passed), ("failed", self.failed))
            for number in range(count)
        ]


Act = Say | Count | LongLine | Show | Spoil | Pause | Disturb | Report


def shell_of(acts: Iterable[Act]) -> str:
    """Return the acts as shell text."""
    return "\n".join(act.shell() for act in acts)


def output_of(acts: Iterable[Act]) -> bytes:
    """Return what the acts write."""
    return b"".join(act.output() for act in acts)


def some_acts(random: Random, *, longest_pause: int) -> list[Act]:
    """Return acts like those of real programs: bursts, silence, long lines, half lines, and bytes that are not text.

    `longest_pause` is the limit of each pause, in tenths of a second.
    """
    acts: list[Act] = []
    for turn in range(random.randint(1, 4)):
        acts += random.choice((_burst, _few_lines, _long_line, _binary))(random, turn)
        acts.append(Pause(random.randint(0, longest_pause)))
    return acts


def disturbances(random: Random) -> list[Act]:
    """Return acts by which a job might disturb the script that runs it."""
    return [Disturb(signal) for signal in random.sample(("HUP", "INT", "PIPE", "TERM", "USR1"), 2)]


def _burst(random: Random, turn: int) -> list[Act]:
    return [Count(f"burst {turn} line", 0, random.randint(100, 2000), "x" * random.randint(1, 80))]


def _few_lines(random: Random, turn: int) -> list[Act]:
    acts: list[Act] = []
    for number in range(random.randint(2, 5)):
        acts += [
            Count(f"slow {turn} line", number, number + 1, "ü✓🥊"[: random.randint(0, 3)]),
            Pause(random.randint(0, 4)),
        ]
    return acts


def _long_line(random: Random, turn: int) -> list[Act]:
    return [Say(b"%d: " % turn), LongLine("0123456789abcdef", random.randint(8, 13))]


def _binary(random: Random, turn: int) -> list[Act]:
    return [Say(random.randbytes(random.randint(1, 400))), Pause(random.randint(0, 2)), Say(b"\0half a line %d" % turn)]


def _in_format(byte: int) -> str:
    character = chr(byte)
    return character if byte < 128 and (character.isalnum() or character in " :,.") else f"\\{byte:03o}"
