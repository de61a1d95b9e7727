"""Packing a project: 20,000 files of 195 MB, in turns with `zip`."""

import asyncio
import random
import shutil
import sys
import sysconfig
import time
from pathlib import Path

from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, LeftOut, Series
from bench.frame.turns import in_turns

NAME = "packing"
TITLE = "Packing a project"

FILES = 20_000
BYTES = 195_000_000
_LONGEST = 400_000
_PACK = "import sys; from pathlib import Path; from ci_client.packing.archive import pack_directory; " + (
    "pack_directory(Path(sys.argv[1])).file.close()"
)
_RULES = "*.py[cod]\n__pycache__/\n/build\n/dist/\n*.egg-info/\n*.o\n*.so\n.venv\n*.log\n!keep.log\ndocs/_build/\n"
_TREES = {
    "source": "source code",
    "compressed": "files that are compressed already",
    "repetitive": "files that repeat one line, which compress most quickly",
}


async def measure(lab: Lab) -> list[Figure]:
    """Measure one tree after the other."""
    zip_program = shutil.which("zip")
    if zip_program is None:
        raise LeftOut("there is no `zip`: apt-get install zip")
    figures = []
    for key, what in _TREES.items():
        lab.say(f"a tree of {what}")
        tree = lab.directory / key
        await asyncio.to_thread(make_tree, tree, key, files=lab.samples(FILES, 2000))
        archive = lab.directory / "x.zip"

        async def zipped(tree: Path = tree, archive: Path = archive) -> float:
            archive.unlink(missing_ok=True)
            return await _seconds(zip_program, "-qr", archive, ".", directory=tree)

        async def ours(tree: Path = tree) -> float:
            return await _seconds(sys.executable, "-c", _PACK, tree, directory=Path.cwd())

        taken = await in_turns(lab.samples(5, 2), {"ours": ours, "zip": zipped})
        series = (Series(name, tuple(taken[of])) for name, of in (("ci-server", "ours"), ("`zip -qr`", "zip")))
        figures.append(Figure(f"packing.{key}", f"packing {what}", "s", Better.LESS, *series))
        await asyncio.to_thread(shutil.rmtree, tree)
    lab.note(
        f"Trees of {lab.samples(FILES, 2000):,} files in 1,600 directories with eleven ignore rules, 195 MB where all "
        "files are there; each sample is a program from its start to its end, and its files are in memory."
    )
    return figures


def make_tree(root: Path, kind: str, *, files: int, size: int | None = None) -> None:
    """Make a tree of `files` files of this kind with `size` bytes in all, always the same one."""
    chance = random.Random(1)
    library = Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(path.read_bytes() for path in sorted(library.glob("*.py")))
    sizes = [min(int(chance.lognormvariate(8.3, 1.3)), _LONGEST) for _ in range(files)]
    scale = (BYTES * files / FILES if size is None else size) / sum(sizes)
    for number, share in enumerate(sizes):
        directory = root / f"package{number % 200}" / f"part{number % 7}"
        directory.mkdir(parents=True, exist_ok=True)
        length = int(share * scale)
        (directory / f"file{number}.py").write_bytes(_content(kind, chance, text, number, length))
    (root / ".gitignore").write_text(_RULES)


def _content(kind: str, chance: random.Random, text: bytes, number: int, length: int) -> bytes:
    if kind == "compressed":
        return chance.randbytes(length)
    if kind == "repetitive":
        return (b"one line of file %d\n" % number * length)[:length]
    start = chance.randrange(len(text) - length)
    return text[start : start + length]


async def _seconds(*command: str | Path, directory: Path) -> float:
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(*command, cwd=directory)
    status = await process.wait()
    took = time.perf_counter() - begun
    if status != 0:
        raise RuntimeError(f"{command[0]} ended with {status}")
    return took
