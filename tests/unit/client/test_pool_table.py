"""The containers that wait for jobs, as people see them."""

from typing import Any

from ci_cli.tables.kept import pool_table

KIND: dict[str, Any] = {
    "kind": "0123456789abcdef",
    "image": "busybox",
    "network": False,
    "limits": {"cpus": 1.5, "memory": 512 * 1024**2},
    "waiting": 2,
    "starting": 1,
    "wanted": 3,
    "last_used": None,
}


def test_every_profile_has_a_line() -> None:
    pool = {"size": 8, "per_key": 4, "waiting": 2, "held_back": None, "kinds": [KIND]}
    head, line, whole = pool_table(pool).splitlines()
    assert head.split() == ["PROFILE", "WAITING", "STARTING", "WANTED", "LAST", "USED", "IMAGE", "LIMITS"]
    assert line.split(maxsplit=5) == [
        "0123456789abcdef",
        "2",
        "1",
        "3",
        "busybox",
        "cpus=1.5, memory=512.0 MiB, no network",
    ]
    assert whole == "2 of at most 8 containers are warm, at most 4 of one profile"


def test_what_an_earlier_controller_left_is_shown_without_what_nobody_knows() -> None:
    unknown = KIND | {"image": None, "network": None, "limits": None}
    pool = {"size": 8, "per_key": 4, "waiting": 2, "held_back": None, "kinds": [unknown]}
    assert pool_table(pool).splitlines()[1].split() == ["0123456789abcdef", "2", "1", "3"]


def test_a_pool_that_is_held_back_says_why() -> None:
    pool = {"size": 8, "per_key": 4, "waiting": 0, "held_back": "no memory", "kinds": []}
    assert (
        pool_table(pool)
        == "0 of at most 8 containers are warm, at most 4 of one profile; no more at present: no memory"
    )
