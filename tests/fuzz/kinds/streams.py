"""Where readers begin: cursors, tails, times and ranges, on a job that has ended and on one that runs."""

from tests.fuzz.choices import Choices
from tests.fuzz.kinds import texts
from tests.fuzz.message import COMPLETED, RUNNING, Message

_NUMBERS = (
    *("0", "1", "5", "100", "1891", "1892", "1893", "100000", "9223372036854775807", "9223372036854775808", "1" * 30),
    *("-1", "+1", "1_0", "٣", "1e3", "0x1", "", " ", "1" * 4301, "é", "\x85"),
)
_FAR = ("100", "3000", "100000", "9223372036854775807")
_ATTEMPTS = ("1", "0", "2", "-1", "100", "9" * 30, "x")
_RANGES = (
    "bytes={a}-{b}",
    "bytes={a}-",
    "bytes=-{a}",
    "bytes={a}-{b},{b}-{a}",
    "bytes={a}",
    "x={a}-{b}",
    "bytes= {a} - {b}",
)
_MANY = ",".join(f"{n}-{n}" for n in range(2_000))


def generate(choices: Choices) -> Message:
    job = choices.pick((COMPLETED, RUNNING))
    if choices.chance(35):
        return _log(choices, job)
    query = "&".join(choices.several(2, _parameter)) if choices.chance(50) else ""
    headers = ()
    if choices.chance(60):
        headers = (("Last-Event-ID", texts.line_text(_cursor(choices))),)
    return Message("GET", f"/jobs/{job}/stream" + (f"?{query}" if query else ""), headers)


def _cursor(choices: Choices) -> str:
    if choices.chance(40):
        return choices.pick(_FAR)
    number = choices.pick(_NUMBERS)
    if choices.chance(20):
        return texts.text(choices)
    return choices.pick((number, f"{choices.pick(_ATTEMPTS)}-{number}", f"{number}-{number}", f"1:{number}"))


def _parameter(choices: Choices) -> str:
    name = choices.pick(("from_beginning", "tail", "since", "x"))
    options = {"from_beginning": ("true", "false", "1", "x"), "since": texts.TIMES}.get(name, _NUMBERS)
    return f"{name}={texts.line_text(choices.pick(options)).replace(' ', '+').replace('#', '')}"


def _log(choices: Choices, job: str) -> Message:
    wanted = choices.pick(_RANGES).replace("{a}", choices.pick(_NUMBERS)).replace("{b}", choices.pick(_NUMBERS))
    headers = [("Range", texts.line_text(f"bytes={_MANY}" if choices.chance(5) else wanted))]
    if choices.chance(30):
        headers.append(("If-Range", choices.pick(('"x"', "W/", '"', "Thu, 01 Jan 1970 00:00:00 GMT"))))
    query = f"?attempt={choices.pick(_NUMBERS[:3])}" if choices.chance(20) else ""
    return Message(choices.pick(("GET", "HEAD")), f"/jobs/{job}/log{query}", tuple(headers))
