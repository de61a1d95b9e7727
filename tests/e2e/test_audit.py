"""`ci audit` as people use it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ci_common.sharing.audit import BEGINNING, COMMAND, Chain
from tests.helpers.service import Service, Start, ended, terminals


@pytest.fixture
def environment(as_a_person: dict[str, str]) -> dict[str, str]:
    return as_a_person


def test_from_the_first_key_to_an_altered_entry(environment: dict[str, str]) -> None:
    with terminals(environment) as ci:
        key = ended(ci("keys", "create", "--admin", "root"))[1].decode().strip()
    service = Service(environment, "serve", "--port", "0").start()
    try:
        with terminals({**environment, "CI_SERVER_URL": service.url, "CI_TOKEN": key}) as ci:
            _use(ci, Path(environment["CI_DB_PATH"]), key)
    finally:
        service.close()


def _use(ci: Start, database: Path, key: str) -> None:
    for name in ("alice", "bob"):
        assert ended(ci("keys", "create", name, "--role", "viewer"))[0] == 0
    assert ended(ci("secrets", "list", CI_TOKEN=""))[0] == 64
    status, out, _ = ended(ci("audit"))
    assert status == 0
    rows = [line.split() for line in out.decode().splitlines()]
    assert rows[0] == ["NUMBER", "TIME", "WHO", "KEY", "FROM", "ACTION", "TARGET", "PROJECT", "OUTCOME"]
    assert [row[0] for row in rows[1:]] == ["4", "3", "2", "1"]
    assert "refused: key_missing" in out.decode()

    status, out, said = ended(ci("audit", "--verify"))
    mark = out.decode().strip()
    assert (status, mark.partition(":")[0]) == (0, "4"), said
    status, out, _ = ended(ci("audit", "--jsonl"))
    entries = [json.loads(line) for line in out.splitlines()]
    chain = Chain(BEGINNING)
    assert [chain.check(entry) for entry in entries] == [None] * 4
    assert str(chain.mark) == mark
    assert (entries[0]["action"], entries[0]["address"]) == ("create_key", COMMAND)
    assert key not in out.decode()
    assert ended(ci("audit", "--jsonl", "--after", "2", "--limit", "1"))[1].count(b"\n") == 1
    status, out, _ = ended(ci("audit", "--action", "create_key", "--limit", "2", "--json"))
    assert [entry["number"] for entry in json.loads(out)] == [3, 2]
    assert ended(ci("audit", "--verify", "--mark", mark))[0] == 0
    assert ended(ci("audit", "--verify", "--mark", f"3:{mark.partition(':')[2]}"))[0] == 1
    assert ended(ci("audit", "--verify", "--mark", "4"))[0] == 64
    assert ended(ci("audit", "--verify", "--actor", "root"))[0] == 64
    _alter(ci, database)


def _alter(ci: Start, database: Path) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        connection.execute("UPDATE audit SET actor = 'mallory\x1b[2J' WHERE number = 2")
        connection.commit()
    status, _, said = ended(ci("audit", "--verify"))
    assert status == 1
    assert "entry 2 does not fit: its digest is not that of its content" in said
    status, out, _ = ended(ci("audit", "--verify", "--json"))
    assert (status, json.loads(out)["broken"]["number"]) == (1, 2)
    for shown in (ended(ci("audit"))[1], ended(ci("audit", "--jsonl"))[1], ended(ci("audit", "--json"))[1]):
        assert b"mallory" in shown
        assert b"\x1b" not in shown
