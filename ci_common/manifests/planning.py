"""Plans what a new upload takes from stored ones, and what has to be sent for it."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from ci_common.errors import InvalidUpload
from ci_common.manifests.entries import FILES, Entry
from ci_common.manifests.packs import packed
from ci_common.manifests.stored import Pack, Tree, link_file, read_tree

_LEAST_SHARE = 0.5
"""A pack of which less is needed is not used again: what is needed of it is sent once more."""
_BYTES_PER_ENTRY = 8
"""Contents of fewer bytes for each entry are received in less time than it takes to look for them in another tree."""
_MOST_PACKS = 1000
"""Beyond so many packs, the smallest ones are not used again, so that their contents are put together in new ones."""


def planned(
    owner: str, project: str, entries: Sequence[Entry], sources: Iterable[tuple[Path, Tree | None]], target: Path
) -> tuple[Tree, list[int]]:
    """Return the tree of a new upload, and the places in `entries` of the files whose contents have to be sent.

    Packs of the uploads in `sources`, whose trees are given if they are known, that hold enough of it are linked into
    `target`; the others are the last ones of the tree, in the order in which they have to be sent. Sources that have
    been deleted, or that others have sent, are not used. Raises OSError.
    """
    tree = Tree(owner, project, list(entries))
    rest = sum(tree.contents.values())
    for source, known in sources:
        if rest <= (_BYTES_PER_ENTRY * len(entries) if tree.places else 0):
            break
        rest -= _use(source, known, tree, target)
    missing = _first_of_each(entries, tree.contents.keys() - tree.places.keys())
    for members in packed([entries[number].size for number in missing]):
        files = [entries[missing[member]] for member in members]
        name = sha256("".join(file.content for file in files).encode()).hexdigest()
        offset = 0
        for file in files:
            tree.places[file.content] = len(tree.packs), offset
            offset += file.size
        tree.packs.append(Pack(name, offset))
    return tree, missing


def _first_of_each(entries: Sequence[Entry], contents: set[str]) -> list[int]:
    """Return the places of the first files with these contents."""
    missing: list[int] = []
    if contents:
        for number, (_, kind, _, content) in enumerate(entries):
            if content in contents and kind in FILES:
                contents.remove(content)
                missing.append(number)
    return missing


def _use(source: Path, known: Tree | None, tree: Tree, target: Path) -> int:
    """Use what is worth it of another upload, and return the size of the contents that need not be sent."""
    try:
        other = known or read_tree(source)
    except (FileNotFoundError, InvalidUpload):
        return 0
    if not other.may_be_used_by(tree.owner, tree.project):
        return 0
    wanted, placed, places = tree.contents, tree.places, other.places
    found = [
        content for content, size in other.contents.items() if wanted.get(content) == size and content not in placed
    ]
    needed = [0] * len(other.packs)
    for content in found:
        needed[places[content][0]] += wanted[content]
    kept: dict[int, int] = {}
    for number in _worth_keeping(other, needed, tree):
        pack = other.packs[number]
        try:
            link_file(source / pack.name, target / pack.name)
        except FileNotFoundError:
            continue  # The job has just been deleted.
        kept[number] = len(tree.packs)
        tree.packs.append(pack)
    for content in found:
        number, offset = places[content]
        if number in kept:
            placed[content] = kept[number], offset
    return sum(needed[number] for number in kept)


def _worth_keeping(other: Tree, needed: Sequence[int], tree: Tree) -> Iterator[int]:
    """Yield the numbers of the packs that are used again. So many bytes of each are `needed`."""
    used = [number for number, size in enumerate(needed) if size]
    largest = sorted(used, key=lambda number: -needed[number])[: max(0, _MOST_PACKS - len(tree.packs))]
    known = {pack.name for pack in tree.packs}
    for number in sorted(largest):
        pack = other.packs[number]
        if pack.sha256 and pack.name not in known and needed[number] >= _LEAST_SHARE * pack.size:
            yield number
