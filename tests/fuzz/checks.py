"""What no answer may be, whatever was sent."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.fuzz.client import Answer
from tests.fuzz.message import Message

MOST_ERROR_BYTES = 16 * 1024
_OUR_FRAME = re.compile(r'File "[^"]*/(ci_\w+/[^"]+)", line (\d+)')
_NOT_HTTP = b"Invalid HTTP request received."
_INSIDES = re.compile(r"function-(?:after|before|wrap|plain)\[|Traceback")


@dataclass(frozen=True)
class Fault:
    """What is wrong; inputs with an equal `name` show the same fault."""

    name: str
    detail: str = ""


def faults_of(message: Message, answer: Answer, log: str, place: str) -> Iterator[Fault]:
    """Yield what is wrong with an answer. `log` is what the server wrote in that time, `place` its directory."""
    if answer.hung:
        yield Fault("no answer", log[-2000:])
    elif answer.status >= 500:
        yield Fault(f"status {answer.status}{_cause(log)}", f"{answer.body[:500]!r}\n{log[-3000:]}")
    elif "Traceback" in log:
        yield Fault(f"traceback in the log{_cause(log)}", log[-3000:])
    if 400 <= answer.status < 500:
        yield from _refusal_faults(message, answer, place)


def _refusal_faults(message: Message, answer: Answer, place: str) -> Iterator[Fault]:
    if len(answer.body) > MOST_ERROR_BYTES:
        yield Fault("a refusal that is too long", f"{len(answer.body)} bytes: {answer.body[:300]!r}…")
    text = answer.body.decode(errors="replace")
    if place in text:
        yield Fault("a refusal that tells a path of the server's", text[:1000])
    if found := _INSIDES.search(text):
        yield Fault("a refusal that tells of the program's insides", f"{found[0]} in {text[:1000]}")
    if not _is_problem(answer) and message.raw is None and message.method != "HEAD":
        yield Fault("a refusal that is not a problem document", text[:1000])


def _is_problem(answer: Answer) -> bool:
    if answer.headers.get("content-type", "").startswith("text/plain") and answer.body == _NOT_HTTP:
        return True  # From the parser of HTTP, before there is a request.
    document = answer.document()
    sound = isinstance(document, dict) and bool(document.get("code") and document.get("detail"))
    return sound or len(answer.body) > MOST_ERROR_BYTES  # It may have been cut here.


def _cause(log: str) -> str:
    """Return where a traceback ends in the product's own code, and with which exception."""
    _, found, traceback = log.rpartition("Traceback (most recent call last)")
    if not found:
        return ""
    frames = _OUR_FRAME.findall(traceback)
    raised = next((line for line in traceback.splitlines() if re.match(r"[A-Za-z_][\w.]*(?:Error|Exception|\w)(?::|$)",
                                                                       line)), "")  # fmt: skip
    where = f" at {frames[-1][0]}:{frames[-1][1]}" if frames else ""
    return f": {raised.partition(':')[0]}{where}"
