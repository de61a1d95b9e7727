"""Text, numbers and times that programs have tripped over."""

from tests.fuzz.choices import Choices

ODD = (
    "",
    " ",
    "é☃",
    "\0",
    "a\0b",
    "\ud800",
    "a\udfffb",
    "\x1b]52;c;x\a",
    "\r\n",
    "\u202e",
    "\uffff",
    "\U0010ffff",
    "\x85\u2028",
    "'",
    '"',
    "\\",
    "`:`",
    "$(:)",
    "%s%n",
    "{}",
    "-",
    "..",
    "../..",
    "a/b",
    ":",
    "*",
    "null",
    "true",
    "1e400",
    "-1e400",
    "NaN",
    "inf",
    "1_0",
    "٣",
    "0x10",
    "010",
    "1:00",
    "1" * 4301,
)
LENGTHS = (0, 1, 2, 64, 65, 200, 201, 256, 257, 1000, 4096, 4301, 10_000, 50_000, 131_073)
HUGE = (300_000, 700_000, 999_000)
TIMES = (
    "2026-01-01T00:00:00Z",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59-01:00",
    "2026-01-01T00:00:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01",
    "1970-01-01T00:00:00.000000001Z",
    "0000-00-00T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:00:00+99:99",
    "٢٠٢٦-01-01T00:00:00Z",
)
JOB_IDS = ("{completed}", "01900000-0000-7000-8000-000000000000", "nope", "%00", "..", "cleanup", "a" * 300)


def long_one(choices: Choices) -> str:
    """Return one character, many times: seldom so often that it makes a request as long as it may be."""
    times = choices.pick(HUGE) if choices.chance(10) else choices.pick(LENGTHS)
    return choices.pick(("1", "9", "a", "é", " ", "-", "[", "{", "a.", "\\", "0,")) * times


def text(choices: Choices) -> str:
    """Return text of some kind."""
    return choices.call(_plain, _odd, _several, long_one)


def _plain(choices: Choices) -> str:
    return choices.pick(("a", "x1", "a b", "1", "0.5", "10m"))


def _odd(choices: Choices) -> str:
    return choices.pick(ODD)


def _several(choices: Choices) -> str:
    return "".join(choices.several(4, _odd))


def encodable(raw: str) -> bytes:
    """Return text in UTF-8; half a surrogate pair becomes the bytes that would stand for it."""
    return raw.encode("utf-8", "surrogatepass")


def line_text(raw: str, most: int = 20_000) -> str:
    """Return text that can stand in a line of a request: bytes as latin-1 without line ends."""
    return encodable(raw[:most]).decode("latin-1").replace("\r", " ").replace("\n", " ")
