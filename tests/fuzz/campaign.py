"""One campaign: so many inputs of one kind, one after the other, each judged, and what the server kept of them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz import kinds
from tests.fuzz.checks import Fault, faults_of
from tests.fuzz.choices import Choices
from tests.fuzz.client import Answer
from tests.fuzz.jobs import Jobs
from tests.fuzz.message import RUNNING, Message, written
from tests.fuzz.server import WatchedServer
from tests.fuzz.shrinking import shrunk
from tests.fuzz.watch import LIMIT_SECONDS

PROCESSOR_SECONDS = 5.0
"""How much processor time one input may cost, with that of the jobs that happen to run beside it."""
PROCESSOR_SECONDS_PER_MIB = 5.0
"""And how much more for its size: an archive names 12,000 empty directories in a mebibyte, each of which is made."""
_TRIES = 3
"""How often an input has to block the event loop to count: a single time may be an import, or another's work."""
_WARM = 0.25
"""Which part of the inputs is sent before the first look at what the server uses."""


@dataclass
class Failure:
    """A fault with the smallest input that shows it."""

    kind: str
    seed: int
    number: int
    fault: Fault
    message: Message | None
    """None where no single input is known to show it."""
    answer: Answer
    times: int = 1
    """How many inputs of the campaign showed it."""
    path: Path | None = None
    """Where the input was written for `--replay`."""

    def told(self) -> str:
        first = f"{self.kind}, seed {self.seed}, input {self.number} and {self.times - 1} more: {self.fault.name}"
        parts = {"smallest input": "" if self.message is None else self.message.shown()}
        parts[f"answer {self.answer.status}"] = self.answer.body[:600].decode(errors="replace")
        parts["more"] = self.fault.detail
        parts["again"] = "" if self.path is None else f"make fuzz FUZZ_ARGS='--replay {self.path}'"
        return "\n".join([first, *(f"--- {title}\n{text}" for title, text in parts.items() if text)])


@dataclass
class Campaign:
    """The inputs `first` to `first + count - 1` of one kind and seed."""

    server: WatchedServer
    kind: str
    seed: int
    count: int
    failed: Path
    """The directory that gets inputs that failed."""
    first: int = 0
    shrink_seconds: float = 20.0
    say: Callable[[str], None] = lambda text: None
    failures: dict[str, Failure] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._make = kinds.GENERATORS[self.kind]
        self._others_read = True
        self._jobs = Jobs(self.server, self._report_job)

    def run(self) -> list[Failure]:
        """Send the inputs and return what failed, each fault once."""
        warm = self.first + max(1, int(self.count * _WARM))
        usage = None
        for number in range(self.first, self.first + self.count):
            if number == warm:
                self._jobs.settle()
                usage = (self.server.service.process.pid, self.server.usage())
            self._one(number)
        self._jobs.settle()
        if usage is not None and usage[0] == self.server.service.process.pid:
            for grown in self.server.settled(usage[1]):
                about = f"{grown} over the inputs {warm} to {self.first + self.count - 1}"
                self._report(None, warm, Fault(f"growth: {grown.split()[0]}", about), Answer())
        return list(self.failures.values())

    def told_statuses(self) -> str:
        """Return how often each status was the answer."""
        return ", ".join(f"{number} times {status or 'none'}" for status, number in sorted(self.statuses.items()))

    def again(self, message: Message) -> list[Failure]:
        """Send one input that was written before."""
        answer, faults = self._try(message, 0)
        for fault in faults:
            self._report(message, 0, fault, answer)
        self._jobs.settle()
        return list(self.failures.values())

    def _one(self, number: int) -> None:
        choices = Choices.of(self.kind, self.seed, number)
        message = self._make(choices)
        answer, faults = self._try(message, number)
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        for fault in faults:
            if fault.name in self.failures:
                self.failures[fault.name].times += 1
            else:
                self._report(message, number, fault, answer)
                self._shrink(self.failures[fault.name], choices.made)

    def _try(self, message: Message, number: int) -> tuple[Answer, list[Fault]]:
        server, spent = self.server, self.server.processor_seconds()
        self._others_read = True
        answer = server.ask(message, self._enough(message))
        sound = not answer.hung and server.lives and server.get("/health").status == 200
        faults = list(faults_of(message, answer, server.complaints(), str(server.place)))
        if not server.lives:
            faults = [Fault("the server's process ended", f"status {server.service.process.returncode}")]
        if answer.hung or not server.lives:
            self.say("starting another server")
            self._jobs.forget()
            server.start()
            return answer, faults
        if not sound:
            faults.append(Fault("the server does not answer the next request"))
        spent = server.processor_seconds() - spent
        if spent > PROCESSOR_SECONDS + PROCESSOR_SECONDS_PER_MIB * len(message.body) / 1024**2:
            faults.append(Fault("too much processor time", f"{spent:.1f} s"))
        faults += self._blocked(message)
        faults += self._after(message, answer, number)
        return answer, faults

    def _enough(self, message: Message) -> Callable[[bytes], bool] | None:
        """Return when the answer has been read far enough: a stream of a running job, or of all changes, has no end.

        While it is open, another reader of the same job has to get what the job writes.
        """

        def enough(body: bytes) -> bool:
            if b"\n\n" not in body:
                return False
            self._others_read = _ticks(self.server)
            return True

        is_endless = f"{RUNNING}/stream" in message.target or "/events" in message.target
        return enough if is_endless else None

    def _blocked(self, message: Message) -> list[Fault]:
        """Return the fault where the input blocks the event loop each time that it is sent."""
        longest = max(self.server.slow(), default=None)
        for _ in range(_TRIES - 1):
            if longest is None:
                return []
            self.server.ask(message, self._enough(message))
            longest = min(longest, max(self.server.slow(), default=(0.0, "")))
            longest = None if longest[0] == 0 else longest
        if longest is None:
            return []
        detail = f"{longest[0] * 1000:.1f} ms; the limit is {LIMIT_SECONDS * 1000:.0f} ms\n{longest[1]}"
        return [Fault("the event loop is blocked", detail)]

    def _after(self, message: Message, answer: Answer, number: int) -> list[Fault]:
        """Return what is wrong with what the input left: its job, the streams of others, the server as a whole."""
        if not self._others_read:
            self._jobs.forget()
            self.server.start()  # They get nothing until the job ends, which it does not.
            return [Fault("the readers of a running job get nothing any more")]
        job_id = _job_id(answer)
        if job_id is None:
            return []
        if (fault := self._jobs.shown(job_id)) is not None:
            return [fault]
        self._jobs.add(job_id, message, number)
        return []

    def _shrink(self, failure: Failure, made: list[int]) -> None:
        if failure.fault.name.startswith(("a job that", "growth")):
            return  # Seen long after the input.

        def fails(candidate: list[int]) -> list[int] | None:
            choices = Choices(candidate)
            message = self._make(choices)
            answer, faults = self._try(message, failure.number)
            for fault in faults:
                if fault.name == failure.fault.name:
                    failure.fault, failure.message, failure.answer = fault, message, answer
                    return choices.made
            return None

        shrunk(made, fails, seconds=self.shrink_seconds)
        self._keep(failure)

    def _report_job(self, message: Message, number: int, fault: Fault) -> None:
        self._report(message, number, fault, Answer())

    def _report(self, message: Message | None, number: int, fault: Fault, answer: Answer) -> None:
        if fault.name in self.failures:
            self.failures[fault.name].times += 1
            return
        failure = self.failures[fault.name] = Failure(self.kind, self.seed, number, fault, message, answer)
        self._keep(failure)
        self.say(f"{self.kind}, seed {self.seed}, input {number}: {fault.name}")

    def _keep(self, failure: Failure) -> None:
        if failure.message is None:
            return
        name = re.sub(r"\W+", "-", failure.fault.name).strip("-")[:60]
        path = self.failed / f"{failure.kind}-{failure.seed}-{failure.number}-{name}.json"
        about = {"seed": failure.seed, "number": failure.number, "fault": failure.fault.name}
        failure.path = written(path, failure.kind, failure.message, **about)


def _ticks(server: WatchedServer) -> bool:
    """Tell whether a reader of the running job gets something that was written after it came."""
    answer = server.ask(Message("GET", f"/jobs/{RUNNING}/stream"), lambda body: body.count(b"tick") >= 2)
    return b"tick" in answer.body


def _job_id(answer: Answer) -> str | None:
    """Return the id of the job that an input led to."""
    if answer.status == 202 and isinstance(document := answer.document(), dict):
        return str(document["job_id"])
    found = re.search(rb'"type":\s?"job_id",\s?"job_id":\s?"([0-9a-f-]{36})"', answer.body)
    return found[1].decode() if answer.status == 200 and found else None
