"""The jobs for a seed: what each writes, and how it may end. Nothing here depends on time or machine."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from ci_common.jobs import Conclusion
from ci_selftest.jobs.output import Act, Report, Say, Show, Spoil, disturbances, output_of, shell_of, some_acts
from ci_selftest.jobs.surroundings import FAILING, INPUT, Service, ServiceWay, Setup, some_setup

LAST_WORD = b"last word\n"
"""What a job that handles SIGTERM writes then."""
PATIENT = 600.0
"""The timeout, in seconds, of jobs that must not time out, however slow the machine is."""
_FOREVER = "while :; do sleep 0.1; done"
_SHARE_WITH_SETUP = 0.4
_SHARE_WITH_SERVICE = 0.25
_SHARE_WITH_REPORT = 0.4
_MORE_THAN_A_PART = 5100
"""More tests than are written at once."""


class Way(StrEnum):
    """How a job is submitted."""

    REQUEST = "request"
    """`POST /jobs`, by the client library."""
    UPLOAD = "upload"
    """A project with a ci.yaml, by the client library."""
    EXEC = "exec"
    """`ci exec`, which follows the job."""
    SUBMIT = "submit"
    """`ci submit` of a project, which follows the job."""


class Kind(StrEnum):
    """What is special about a job."""

    PLAIN = "plain"
    """It ends by itself."""
    CANCELLED = "cancelled"
    """It never ends, handles SIGTERM, and is cancelled."""
    STUBBORN = "stubborn"
    """It never ends, ignores SIGTERM, and is cancelled."""
    RACING = "racing"
    """It ends by itself, about when it is cancelled."""
    TIMED_OUT = "timed_out"
    """It never ends, and has a short timeout."""
    RETRIED = "retried"
    """It fails and is retried."""
    ESCAPING = "escaping"
    """It succeeds, and while its files are removed it replaces its directories by links to a directory outside."""
    UNRULY = "unruly"
    """It ends by itself, after it has signalled all that it can reach and tried to truncate its log."""
    UNSERVED = "unserved"
    """Its service is never ready, so it does not begin."""
    DESERTED = "deserted"
    """It never ends, handles SIGTERM, and its service ends."""


ENDS_ITSELF = frozenset({Kind.PLAIN, Kind.RACING, Kind.RETRIED, Kind.ESCAPING, Kind.UNRULY})
_UNTOUCHED = frozenset({Kind.PLAIN, Kind.RETRIED, Kind.ESCAPING, Kind.UNRULY})
"""These are not stopped."""
_FAILED_BY_SERVICE = {Kind.UNSERVED: ServiceWay.NEVER, Kind.DESERTED: ServiceWay.DYING}
_WITHOUT_SETUP = frozenset({Kind.ESCAPING, Kind.UNSERVED, Kind.TIMED_OUT})
"""The first has variables of its own, so it shares no environment; a setup that runs apart has the job's timeout."""
_CANCELLED = frozenset({Kind.CANCELLED, Kind.STUBBORN, Kind.RACING})
_ESCAPE = """
i=0
while [ "$i" -lt 20 ]; do mkdir -p "d$i/inner"; : >"d$i/inner/file"; i=$((i + 1)); done
(
    trap '' HUP INT TERM
    while :; do
        for d in d0 d1 d2 d3 ../workspace; do
            mv "$d" "$d.aside" && ln -s "$SELFTEST_CANARY" "$d" && rm "$d"; [ ! -e "$d.aside" ] || mv "$d.aside" "$d"
        done
    done
) >/dev/null 2>&1 &
if [ -p ../console ]; then sleep 1; printf '0 last\\n' >../exit; while :; do sleep 0.1; done; fi"""
"""The script kills the rest of the job before its files are removed, so this job writes its own exit status first."""
_CONCLUSION_OF_A_STOP = {
    Kind.CANCELLED: Conclusion.CANCELLED,
    Kind.STUBBORN: Conclusion.CANCELLED,
    Kind.RACING: Conclusion.CANCELLED,
    Kind.TIMED_OUT: Conclusion.TIMED_OUT,
    Kind.DESERTED: Conclusion.ERRORED,
}
_WITH_FILES = frozenset({Way.UPLOAD, Way.SUBMIT})


@dataclass(frozen=True, slots=True)
class JobPlan:
    """One job."""

    number: int
    kind: Kind
    way: Way
    steps: tuple[tuple[Act, ...], ...]
    """The acts of each step; the first step begins with the token."""
    token: str
    """Written only by the job's code, when it starts."""
    exit_code: int = 0
    """The exit code of the last step."""
    timeout: float = PATIENT
    cancel_after: float | None = None
    """Seconds after the job's id is known; None is never."""
    max_attempts: int = 1
    has_client: bool = False
    """Whether a separate process follows the job and may be killed. `EXEC` and `SUBMIT` always have one."""

    setup: Setup | None = None
    service: Service | None = None

    @property
    def output(self) -> bytes:
        """What the job's steps write if it is not stopped, without its setup."""
        is_begun = self.kind is not Kind.UNSERVED and (self.setup is None or self.setup.goes_on)
        return b"".join(output_of(acts) for acts in self.steps) if is_begun else b""

    @property
    def artifacts(self) -> dict[str, bytes]:
        """The files that are kept of it if it ends by itself, by their paths."""
        if self.way not in _WITH_FILES or self.kind is Kind.ESCAPING:
            return {}
        return {act.name: act.data for acts in self.steps for act in acts if isinstance(act, Show)}

    @property
    def tests(self) -> list[tuple[str, str]] | None:
        """Name and status of each test in its report if it ends by itself, in order; None if it leaves no report."""
        is_begun = self.setup is None or self.setup.goes_on
        reports = [act for acts in self.steps for act in acts if isinstance(act, Report)] if is_begun else []
        return reports[0].tests if reports else None

    def outputs(self, log: bytes) -> list[bytes]:
        """Return what the whole log may be if the job is not stopped, as far as `log` says how its setup went."""
        befores = [b""] if self.setup is None else self.setup.outputs(log)
        return [before + self.output for before in befores]

    @property
    def own_conclusion(self) -> Conclusion | None:
        """The conclusion if it ends by itself; None if it does not."""
        if self.kind is Kind.UNSERVED:
            return Conclusion.ERRORED
        if self.kind not in ENDS_ITSELF:
            return None
        return Conclusion.FAILED if self.own_exit_code else Conclusion.SUCCEEDED

    @property
    def own_exit_code(self) -> int | None:
        """The exit code if it ends by itself."""
        codes = self.exit_codes
        return codes[-1] if codes else None

    @property
    def exit_codes(self) -> list[int]:
        """The exit codes of the steps that it begins, if it ends by itself."""
        if self.kind is Kind.UNSERVED:
            return []
        if self.setup is not None and not self.setup.goes_on:
            return [FAILING]
        return [0] * (len(self.steps) - 1 + (self.setup is not None)) + [self.exit_code]

    @property
    def stopped_conclusion(self) -> Conclusion | None:
        """The conclusion if it is stopped as planned; None if no stop is planned."""
        return _CONCLUSION_OF_A_STOP.get(self.kind)

    def spec(
        self,
        image: str,
        *,
        project: str,
        witness: str,
        canary: str,
        service_image: str | None = None,
        reopens: bool = False,
    ) -> dict[str, Any]:
        """Return the job in the form of `ci_common.spec.Spec`.

        `witness` is a file that the job can write to, or "". `canary` is a directory that no job may change.
        With `reopens`, an unruly job tries to truncate its log, which the system refuses.
        """
        texts = self.step_texts()
        environment = {"SELFTEST_REOPENS": "1" if reopens else ""}
        if self.setup is None:
            environment["SELFTEST_WITNESS"] = witness
        else:  # Jobs share a prepared environment if their variables are equal.
            texts[0] = f"SELFTEST_WITNESS='{witness}'\n{texts[0]}"
        steps = {"command": texts[0]} if len(texts) == 1 else {"steps": [{"run": text} for text in texts]}
        labels = {"number": str(self.number), "kind": str(self.kind)}
        if self.kind is Kind.ESCAPING:
            environment["SELFTEST_CANARY"] = canary
        spec = {"image": image, "timeout": self.timeout, "project": project, "labels": labels, "env": environment}
        if self.max_attempts > 1:
            spec["retry"] = {"max_attempts": self.max_attempts, "on": [Conclusion.FAILED], "backoff": 0.3}
        if self.setup is not None:
            spec["setup"] = self.setup.spec(has_files=self.way in _WITH_FILES)
        if self.artifacts:
            spec["artifacts"] = ["*.bin", {"paths": ["*.never"], "when": "failure", "name": "none"}]
        if self.service is not None:
            spec["services"] = {"db": self.service.spec(service_image or image)}
        return spec | steps

    def step_texts(self) -> list[str]:
        """Return the shell text of each step after the setup."""
        texts = [shell_of(acts) for acts in self.steps]
        texts[0] = f'[ -z "$SELFTEST_WITNESS" ] || echo {self.token} >>"$SELFTEST_WITNESS"\n{texts[0]}'
        if self.kind is Kind.ESCAPING:
            texts[-1] += _ESCAPE
        texts[-1] += f"\nexit {self.exit_code}" if self.kind in ENDS_ITSELF else f"\n{_FOREVER}"
        if self.kind not in _UNTOUCHED:
            # The shell's messages about its terminated children are not the job's own output.
            texts = [f"trap {self._at_sigterm()} TERM\n{{ {text}\n}} 2>/dev/null" for text in texts]
        return texts

    def _at_sigterm(self) -> str:
        if self.kind is Kind.STUBBORN:
            return "''"
        last_word = f"{Say(LAST_WORD).shell()}; " if self.kind is not Kind.RACING else ""
        return "'" + last_word.replace("'", "'\\''") + "exit 9'"

    def write_project(self, directory: Path, spec: dict[str, Any]) -> None:
        """Write the project that `UPLOAD` and `SUBMIT` send. JSON is valid YAML."""
        directory.mkdir(parents=True)
        (directory / "ci.yaml").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
        for act in (act for acts in self.steps for act in acts if isinstance(act, Show)):
            (directory / act.name).write_bytes(act.data)
        if self.setup is not None:
            (directory / INPUT).write_text(f"input {self.setup.key}\n")


def job_plan(seed: int, number: int, *, has_services: bool = True) -> JobPlan:
    """Return the job with this number (from 1) of the run with this seed. Not all runtimes have services."""
    random = Random(f"{seed}/job/{number}")  # noqa: S311  # repeatable, no secret
    kind = random.choices(list(Kind), weights=(12, 2, 1, 2, 2, 2, 2, 2, 1, 1))[0]
    if kind in _FAILED_BY_SERVICE and not has_services:
        kind = Kind.PLAIN
    way = random.choices(list(Way), weights=_weights_of_ways(kind))[0]
    setup = _some_setup(random, kind, way)
    service = _some_service(random, kind, way) if has_services else None
    token = f"token-{number}-{random.getrandbits(64):016x}"
    steps = [[Say(f"{token}\n".encode()), *some_acts(random, longest_pause=8)]]
    if setup is not None:
        steps[0].insert(1, Spoil(setup.made))
    if way in _WITH_FILES:
        _add_files(random, steps)
        if kind in _UNTOUCHED and random.random() < 0.5:
            steps.append(some_acts(random, longest_pause=4))
    if kind is not Kind.ESCAPING:
        _add_report(seed, number, steps)
    if kind is Kind.UNRULY:
        steps = [[*acts, *disturbances(random), Say(b"still here\n")] for acts in steps]
    return JobPlan(
        number=number,
        kind=kind,
        way=way,
        steps=tuple(tuple(acts) for acts in steps),
        token=token,
        exit_code=0 if kind is Kind.ESCAPING else random.choice((3, 42) if kind is Kind.RETRIED else (0, 0, 3, 42)),
        timeout=random.uniform(0.5, 2.0) if kind is Kind.TIMED_OUT else PATIENT,
        cancel_after=random.uniform(0.0, 3.0) if kind in _CANCELLED else None,
        max_attempts=random.choice((2, 3)) if kind is Kind.RETRIED else 1,
        has_client=way in (Way.REQUEST, Way.UPLOAD) and kind is not Kind.RETRIED and random.random() < 0.3,
        setup=setup,
        service=service,
    )


def _weights_of_ways(kind: Kind) -> tuple[int, int, int, int]:
    if kind is Kind.RETRIED:
        # A restarted process resumes by the length of what it has, which does not say in which of several logs.
        return (4, 4, 0, 0)
    return (4, 4, 0, 2) if kind in _FAILED_BY_SERVICE else (4, 4, 2, 2)


def _some_setup(random: Random, kind: Kind, way: Way) -> Setup | None:
    if way is Way.EXEC or kind in _WITHOUT_SETUP or random.random() > _SHARE_WITH_SETUP:
        return None
    return some_setup(
        random,
        has_files=way in _WITH_FILES,
        is_cancelled=kind in (Kind.CANCELLED, Kind.STUBBORN),
        ends_itself=kind in ENDS_ITSELF,
    )


def _some_service(random: Random, kind: Kind, way: Way) -> Service | None:
    if kind in _FAILED_BY_SERVICE:
        return Service(_FAILED_BY_SERVICE[kind])
    if way is Way.EXEC or random.random() > _SHARE_WITH_SERVICE:
        return None
    return Service(random.choice((ServiceWay.READY, ServiceWay.READY, ServiceWay.LATE)))


def _add_report(seed: int, number: int, steps: list[list[Act]]) -> None:
    random = Random(f"{seed}/report/{number}")  # noqa: S311  # repeatable, no secret
    if random.random() < _SHARE_WITH_REPORT:
        passed = random.choice((0, 1, 30, 30, _MORE_THAN_A_PART))
        steps[0].insert(random.randint(1, len(steps[0])), Report(passed, random.choice((0, 1, 3))))


def _add_files(random: Random, steps: list[list[Act]]) -> None:
    for number in range(random.randint(1, 2)):
        data = random.randbytes(random.choice((100, 5_000, 300_000)))
        steps[0].insert(random.randint(1, len(steps[0])), Show(f"data-{number}.bin", data))
