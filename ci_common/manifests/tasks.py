"""Uploads by manifest as tasks for readers: planning one, checking a pack of it, and making a workspace from it."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_common.archives.members import shortened
from ci_common.archives.unpack import UnpackLimits
from ci_common.errors import InvalidUpload, TooLarge, UploadBaseGone
from ci_common.manifests.entries import Entry, check_tree, longest_text, parsed
from ci_common.manifests.packs import decompressed_text
from ci_common.manifests.planning import planned
from ci_common.manifests.session import Plan, Session, this_boot
from ci_common.manifests.stored import (
    TREE,
    Tree,
    link_file,
    read_head,
    read_tree,
    sha256_of,
    write_head,
)
from ci_common.manifests.workspace import (
    make_folders,
    make_links,
    remove_changed,
    write_empty,
    write_files,
)
from ci_common.sandbox.channel import OF_THE_UPLOAD, Task
from ci_common.sandbox.child import Caller, TaskFunction

if TYPE_CHECKING:
    from ci_common.sandbox.pool import Readers  # Importing it would slow the start of readers, which do not use it.

_IDLE = 19
_last: Tree | None = None
"""The tree that this process has read or planned last."""


def plan_task(argument: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Read a manifest, and begin a session for what of it has to be sent.

    Returns the places, in the manifest, of the files that have to be sent, as ranges, and the number of frames.
    """
    global _last
    session, base_path = Session(Path(argument["session"])), argument["base"]
    _start_over(session)
    limits = UnpackLimits(*argument["limits"])
    text = decompressed_text(Path(argument["manifest"]).read_bytes(), longest_text(limits.members))
    if not text and (plan := _unchanged(session, argument, limits)) is not None:
        session.write(plan)
        return {"missing": [], "frames": 0}
    known = None if base_path is None else _base(Path(base_path), argument["owner"], argument["project"])
    base = {} if known is None else {entry.path: entry for entry in known.entries}
    entries = parsed(text, base)
    totals = check_tree(entries, most_members=limits.members, most_bytes=limits.bytes, advance=caller.advance)
    sources = [(Path(source), known if source == base_path else None) for source in argument["sources"]]
    tree, missing = planned(argument["owner"], argument["project"], entries, sources, session.upload)
    tree.members = totals.members
    first = next((number for number, pack in enumerate(tree.packs) if not pack.sha256), len(tree.packs))
    to_write = _prepare(session, tree, first, argument["spare"], base)
    tree.write(session.upload)
    _last = tree
    plan = Plan(
        argument["owner"],
        argument["project"],
        this_boot(),
        first,
        tuple(tree.packs[first:]),
        to_write,
        totals.bytes,
        totals.members,
        tree.id,
    )
    session.write(plan)
    return {"missing": _ranges(missing), "frames": plan.frames}


def _unchanged(session: Session, argument: dict[str, Any], limits: UnpackLimits) -> Plan | None:
    """Take tree, packs and spare workspace of the base for a session; return None if that is not all there is to do."""
    if argument["base"] is None or argument["spare"] is None:
        return None
    base, owner, project = Path(argument["base"]), argument["owner"], argument["project"]
    try:
        head = read_head(base)
        if (head.owner, head.project) != (owner, project):
            return None
        if head.members > limits.members or head.size > limits.bytes:
            return None
        os.rename(argument["spare"], session.workspace)
        for name in (TREE, *(pack.name for pack in head.packs)):
            link_file(base / name, session.upload / name)
    except (OSError, InvalidUpload):
        _start_over(session)
        return None
    return Plan(owner, project, this_boot(), len(head.packs), (), (), head.size, head.members, head.tree_id)


def _start_over(session: Session) -> None:
    for directory in (session.upload, session.workspace):
        _empty(directory)
        directory.mkdir(parents=True, exist_ok=True)


def _empty(directory: Path) -> None:
    if directory.exists():
        from ci_common.archives.tasks import empty

        empty(directory)


def _base(base: Path, owner: str, project: str) -> Tree:
    try:
        tree = _tree(base)
    except (FileNotFoundError, InvalidUpload):
        tree = None
    if tree is None or not tree.may_be_used_by(owner, project):
        raise UploadBaseGone("the server does not have the upload that the manifest is based on; send it as a whole")
    return tree


def _prepare(
    session: Session, tree: Tree, first: int, spare: str | None, base: dict[str, Entry]
) -> tuple[int, ...] | None:
    """Make the folders of the workspace. If there is a spare one of the base, make it the workspace.

    Returns `Plan.known`.
    """
    known, new = None, tree.entries
    if spare is not None:
        try:
            os.rename(spare, session.workspace)
        except OSError:
            pass  # Another upload has taken it, or the job has been deleted.
        else:
            changed = [at for at, entry in enumerate(tree.entries) if base.get(entry[0]) != entry]
            new = [tree.entries[at] for at in changed]
            remove_changed(session.workspace, base, tree.entries, new)
            known = tuple(at for at in changed if _pack_of(tree, tree.entries[at]) < first)
    with _blaming():
        make_folders(session.workspace, new)
    return known


def _pack_of(tree: Tree, entry: Entry) -> int:
    return tree.places.get(entry.content, (-1, 0))[0] if entry.is_file else -1


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def receive_task(argument: dict[str, Any], caller: Caller) -> None:
    """Check a pack that has been received, write its files to the workspace, and give it its name."""
    session, number = Session(Path(argument["session"])), argument["pack"]
    tree = _tree(session.upload)
    pack = tree.packs[number]
    with _blaming():
        write_files(session.workspace, session.part(pack), pack.size, tree.files_in(number), caller.advance)
    session.part(pack).rename(session.upload / pack.name)


def complete_task(argument: dict[str, Any], caller: Caller) -> None:
    """Complete the workspace of a session whose packs are all there, and its tree."""
    session = Session(Path(argument["session"]))
    plan, head = session.read(), read_head(session.upload)
    limits = UnpackLimits(*argument["limits"])
    _check_ratio(plan, sum((session.upload / pack.name).stat().st_size for pack in head.packs), limits)
    if plan.known != ():
        tree = _tree(session.upload)
        known = tree.entries if plan.known is None else [tree.entries[at] for at in plan.known]
        _write(session.upload, session.workspace, tree, known, caller, up_to=plan.first)
    if not plan.packs:
        return
    for pack in head.packs[plan.first :]:
        pack.sha256 = sha256_of(session.upload / pack.name)
        caller.advance()
    write_head(session.upload, head)


def _check_ratio(plan: Plan, packed_bytes: int, limits: UnpackLimits) -> None:
    if plan.size > max(limits.ratio_free_bytes, int(packed_bytes * limits.ratio)):
        raise TooLarge(
            f"the upload unpacks to {plan.size} bytes, more than {limits.ratio:g} times the {packed_bytes} bytes of "
            f"its packs, which is looked at above {limits.ratio_free_bytes} bytes (CI_MAX_COMPRESSION_RATIO)"
        )


def fill_task(argument: dict[str, Any], caller: Caller) -> None:
    """Make a workspace from a stored upload."""
    upload, target = Path(argument["upload"]), Path(argument["target"])
    if argument["is_idle"]:
        os.nice(_IDLE)
    _empty(target)
    tree = read_tree(upload)
    with _blaming():
        make_folders(target, tree.entries)
    _write(upload, target, tree, tree.entries, caller, up_to=len(tree.packs))


def _write(upload: Path, target: Path, tree: Tree, entries: list[Entry], caller: Caller, *, up_to: int) -> None:
    """Write those of the entries whose contents are in the packs before `up_to`, and all that have none."""
    part = Tree(tree.owner, tree.project, entries, tree.packs, tree.places)
    with _blaming():
        for number, pack in enumerate(tree.packs[:up_to]):
            if files := part.files_in(number):
                caller.go_on_to(files[0][1].path)
                write_files(target, upload / pack.name, pack.size, files, caller.advance)
        write_empty(target, entries)
        make_links(target, entries)


def _tree(upload: Path) -> Tree:
    """Return the tree of a stored upload, which is read if it is not the one that was read or planned last."""
    global _last
    head = read_head(upload)
    if _last is None or _last.id != head.tree_id or [pack.name for pack in _last.packs] != [p.name for p in head.packs]:
        _last = read_tree(upload)
    # Equal trees in equal packs may have been sent by others, and packs that were planned may have been received since.
    _last.owner, _last.project, _last.packs = head.owner, head.project, head.packs
    return _last


@contextmanager
def _blaming() -> Iterator[None]:
    """Raise InvalidUpload for errors that are caused by the names in an upload."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in OF_THE_UPLOAD:
            raise
        name = shortened(os.path.basename(str(exc.filename)))
        raise InvalidUpload(f"{name} of the upload cannot be written: {exc.strerror}") from exc


TASKS: dict[str, TaskFunction] = {
    "plan": plan_task,
    "receive": receive_task,
    "complete": complete_task,
    "fill": fill_task,
}


async def fill_with(
    readers: "Readers", upload: Path, target: Path, *, check_room: Callable[[], None] = lambda: None
) -> None:
    """Have a workspace made in the existing, empty directory `target` from a stored upload.

    `check_room` is called before each 4 MiB that are written; an error that it raises ends the writing. Also raises
    InvalidUpload, OSError if writing fails, and what `Readers.do` raises.
    """
    await readers.do(_fill(upload, target), on_advance=check_room)


async def fill_apart(upload: Path, target: Path, limits: UnpackLimits, *, is_idle: bool = False) -> None:
    """Have a workspace made as `fill_with` does, by a new reader; with `is_idle`, one at the lowest priority."""
    from ci_common.sandbox.pool import Readers

    async with Readers(__name__, limits.reading) as readers:
        await readers.do(_fill(upload, target, is_idle=is_idle))


def _fill(upload: Path, target: Path, *, is_idle: bool = False) -> Task:
    return Task("fill", {"upload": str(upload), "target": str(target), "is_idle": is_idle}, target)
