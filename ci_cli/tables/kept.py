"""What is kept ready for later jobs, as text for people: environments, caches, warm containers."""

from collections.abc import Iterator, Sequence
from typing import Any

from ci_cli.tables.fitting import Column, Cut, details, table, wrapped
from ci_cli.tables.times import local, local_short
from ci_client.formatting import span
from ci_common.parsing.text import shown_size

_LAST_USED = Column(
    "LAST USED", lambda each: local(each["last_used"]), short=lambda each: local_short(each["last_used"])
)
_CREATED = Column(
    "CREATED", lambda each: local(each["created"]), short=lambda each: local_short(each["created"]), spare=5
)
_SIZE = Column("SIZE", lambda each: shown_size(each["bytes"]), right=True, spare=2)
_PROJECT = Column("PROJECT", lambda each: each["project"] or "", cut=Cut.END, spare=1)
_ENVIRONMENTS = (
    Column("KEY", lambda each: each["key"], short=lambda each: each["key"][:12]),
    _LAST_USED,
    _CREATED,
    _SIZE,
    Column("TOOK", lambda each: span(each["seconds"]), right=True, spare=4),
    _PROJECT,
    Column("IMAGE", lambda each: each["image"], cut=Cut.END),
    Column("SETUP", lambda each: " ".join(each["setup"].split()), cut=Cut.END),
)
_CACHES = (
    Column("ID", lambda each: each["id"]),
    _LAST_USED,
    _CREATED,
    _SIZE,
    Column("FILES", lambda each: str(each["files"]), right=True, spare=4),
    _PROJECT,
    Column("PATH", lambda each: each["path"], cut=Cut.BEGINNING),
    Column("KEY", lambda each: each["key"], cut=Cut.END),
)


def environment_table(environments: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return prepared environments as a table with a head."""
    return table(_ENVIRONMENTS, environments, width=width)


def cache_table(caches: Sequence[dict[str, Any]], *, width: int | None = None) -> str:
    """Return caches as a table with a head."""
    return table(_CACHES, caches, width=width)


def environment_details(environment: dict[str, Any], *, width: int | None = None) -> str:
    """Return the details of a prepared environment, a line each, and then its setup."""
    rows = [
        ("key:", environment["key"]),
        ("project:", environment["project"] or ""),
        ("made from:", environment["image"]),
        ("runtime has it as:", environment["reference"]),
        ("last job:", environment["job_id"]),
        ("created:", local(environment["created"])),
        ("last used:", local(environment["last_used"])),
        ("size:", shown_size(environment["bytes"])),
        ("setup took:", span(environment["seconds"])),
        ("renewed:", "never" if environment["pinned"] else "once it is old"),
        ("inputs:", ", ".join(environment["inputs"])),
    ]
    return f"{details([row for row in rows if row[1]], width=width)}\n{environment['setup'].rstrip()}"


_DIFFERENCES = {
    "added": "is new",
    "missing": "is missing",
    "kind": "is something else",
    "content": "has other content",
    "mode": "has another mode",
    "owner": "has another owner",
}
_IGNORED = {"compiled": "modules that Python has compiled", "logs": "logs of the system's package manager"}


def verification_lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield what the verification of an environment has found."""
    name = f"environment {result['environment'][:12]}"
    if result["same"] is None:
        yield f"{name}: it is not known whether its setup makes the same again: {result['message']}"
        return
    found = result["comparison"]
    if result["same"]:
        yield f"{name}: its setup has made the same again, {found['files']} files"
    else:
        yield (
            f"{name}: its setup has made something else, so it depends on more than its image and its inputs, "
            f"as on the clock or the network: {found['different']} of {found['files']} files differ"
        )
    for difference in found["first"]:
        yield f"  {difference['path']} {_DIFFERENCES.get(difference['how'], difference['how'])}"
    if (more := found["different"] - len(found["first"])) > 0:
        yield f"  and {more} more"
    for kind, number in found["ignored"].items():
        yield f"  not counted: {number} {_IGNORED.get(kind, kind)}"


def _limits(profile: dict[str, Any]) -> str:
    limits = [
        f"{name}={shown_size(value) if name in ('memory', 'workspace') else f'{value:g}'}"
        for name, value in (profile["limits"] or {}).items()
    ]
    return ", ".join([*limits, *(["no network"] if profile["network"] is False else [])])


_PROFILES = (
    Column("PROFILE", lambda profile: profile["kind"]),
    Column("WAITING", lambda profile: str(profile["waiting"]), right=True),
    Column("STARTING", lambda profile: str(profile["starting"]), right=True, spare=3),
    Column("WANTED", lambda profile: str(profile["wanted"]), right=True, spare=2),
    Column(
        "LAST USED",
        lambda profile: local(profile["last_used"]),
        short=lambda profile: local_short(profile["last_used"]),
        spare=4,
    ),
    Column("IMAGE", lambda profile: profile["image"] or "", cut=Cut.END),
    Column("LIMITS", _limits, cut=Cut.END, spare=1),
)


def pool_table(pool: dict[str, Any], *, width: int | None = None) -> str:
    """Return the warm containers as a table with a head, and a line about all of them."""
    whole = f"{pool['waiting']} of at most {pool['size']} containers are warm, at most {pool['per_key']} of one profile"
    why = f"; no more at present: {pool['held_back']}" if pool["held_back"] else ""
    rows = [table(_PROFILES, pool["kinds"], width=width)] if pool["kinds"] else []
    return "\n".join([*rows, wrapped(whole + why, width=width)])
