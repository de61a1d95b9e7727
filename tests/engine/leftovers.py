"""What a test leaves on the engine whose controllers it killed, or left before their work was done."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from ci_common.run_directory.layout import DataDirectory
from tests.engine.api import EngineAPI, EngineError


def remove_containers_of(directory: Path, engine: EngineAPI) -> None:
    """Remove containers and networks of the installations whose databases or data directories are in `directory`."""
    for installation in set(_installations(directory)):
        filters = json.dumps({"label": [f"ci-server.installation={installation}"]})
        for container in json.loads(engine.request("GET", "/containers/json", {"all": "true", "filters": filters})):
            _delete(engine, f"/containers/{container['Id']}", {"force": "true", "v": "true"})
        # One after the other, since an engine prunes for one caller at a time.
        for network in json.loads(engine.request("GET", "/networks", {"filters": filters})):
            _delete(engine, f"/networks/{network['Id']}", {})


def _delete(engine: EngineAPI, path: str, query: dict[str, str]) -> None:
    try:
        engine.request("DELETE", path, query)
    except EngineError as exc:
        if not any(status in str(exc) for status in (" 403 ", " 404 ", " 409 ")):  # It is in use, gone, or about to go.
            raise


def _installations(directory: Path) -> Iterator[str]:
    for path in directory.rglob(DataDirectory(directory).owner_file.name):
        with suppress(OSError, ValueError, KeyError, TypeError):
            yield str(json.loads(path.read_text())["id"])
    for path in directory.rglob("*.db"):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                yield from (row[0] for row in database.execute("SELECT id FROM installation"))
        except sqlite3.Error:
            pass  # None of ours, or one that a test has broken.
