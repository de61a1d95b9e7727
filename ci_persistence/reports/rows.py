"""How the results of tests are written: a row for some thousands, with a text for each column of theirs."""

import base64
import json
import zlib
from typing import Any

from ci_common.attempts.columns import CaseColumns
from ci_persistence.database import Row

COLUMNS = "first, tests, keys, statuses, flaky, changes, times, names, texts"
_LEVEL = 1


def values_of(columns: CaseColumns) -> dict[str, Any]:
    """Return the row of these tests."""
    return {
        "first": columns.first,
        "tests": len(columns),
        "keys": " ".join(columns.keys),
        "statuses": columns.statuses,
        "flaky": columns.flaky,
        "changes": columns.changes,
        "times": _json([_micros(columns.seconds), _micros(columns.seconds_before)]),
        "names": _packed([columns.groups, columns.names, columns.lines]),
        "texts": _packed(columns.texts) if columns.texts else None,
    }


def columns_of(row: Row) -> CaseColumns:
    """Return the tests of a row. Columns that were not asked for are empty."""
    asked = set(row.keys())
    columns = CaseColumns(first=row["first"])
    if "keys" in asked:
        columns.keys = row["keys"].split(" ")
    if "statuses" in asked:
        columns.statuses, columns.flaky, columns.changes = row["statuses"], row["flaky"], row["changes"]
    if "times" in asked:
        columns.seconds, columns.seconds_before = map(_seconds, json.loads(row["times"]))
    if "names" in asked:
        groups, columns.names, columns.lines = _unpacked(row["names"])
        columns.groups = [(suite, class_name, file, count) for suite, class_name, file, count in groups]
    if "texts" in asked and row["texts"] is not None:
        columns.texts = {int(place): texts for place, texts in _unpacked(row["texts"]).items()}
    return columns


def _micros(seconds: list[float | None]) -> list[int | None]:
    """Return seconds as whole microseconds, which are read in a third of the time, and which reports are read to."""
    return [None if each is None else round(each * 1e6) for each in seconds]


def _seconds(micros: list[int | None]) -> list[float | None]:
    return [None if each is None else each / 1e6 for each in micros]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(_json(value).encode(errors="surrogatepass"), _LEVEL)).decode()


def _unpacked(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text)).decode(errors="surrogatepass"))
