"""Reading `steps.jsonl`, which a job could have tampered with: what does not fit is passed over.

The script writes `{"step":0,"event":"start","uptime":"123.45","offset":"678"}` and
`{"step":0,"event":"end","code":1,"uptime":…,"offset":…}`. Uptime is in seconds and becomes an instant by its distance
from the uptime in the `started` mark; either may be empty where the system has no /proc.
"""

from datetime import datetime, timedelta

from pydantic import BaseModel, Field, ValidationError

from ci_common.jobs import StepResult, StepStatus
from ci_common.run_directory.layout import RunDirectory, read_capped

_RECORDS_PER_STEP = 2
_RECORD_BYTES = 160
"""More than any record of the script's has."""


class _Record(BaseModel):
    step: int = Field(ge=0)
    event: str
    code: int | None = Field(None, ge=0, le=255)
    uptime: str = ""
    offset: str = ""


def most_bytes(steps: int) -> int:
    """Return how many bytes the records of so many steps have at most; what lies behind them is not the script's."""
    return steps * _RECORDS_PER_STEP * _RECORD_BYTES


def read_steps(run: RunDirectory, names: tuple[str, ...], start_time: datetime | None) -> tuple[StepResult, ...]:
    """Return the steps of an attempt that have begun, in order.

    `names` are the plan's step names; `start_time` is when the job's own code could start.
    """
    raw = read_capped(run.steps, most_bytes(len(names)))
    if not raw or start_time is None:
        return ()
    base = run.started_uptime()
    results: dict[int, StepResult] = {}
    for line in raw.split(b"\n", _RECORDS_PER_STEP * len(names))[: _RECORDS_PER_STEP * len(names)]:
        try:
            record = _Record.model_validate_json(line)
        except ValidationError:
            continue
        if record.step >= len(names):
            continue
        instant = _instant(record.uptime, base, start_time)
        begun = results.get(record.step)
        if record.event == "start" and begun is None:
            results[record.step] = StepResult(
                names[record.step], StepStatus.RUNNING, instant, log_offset=_number(record.offset)
            )
        elif record.event == "end" and begun is not None and record.code is not None:
            results[record.step] = StepResult(
                begun.name,
                StepStatus.SUCCEEDED if record.code == 0 else StepStatus.FAILED,
                begun.start_time,
                begun.log_offset,
                exit_code=record.code,
                end_time=max(instant, begun.start_time),
            )
    return tuple(results[number] for number in sorted(results))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _instant(uptime: str, base: float | None, start_time: datetime) -> datetime:
    try:
        return start_time + timedelta(seconds=max(0.0, float(uptime) - base)) if base is not None else start_time
    except (ValueError, OverflowError):
        return start_time
