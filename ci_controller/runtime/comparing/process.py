"""Runs the program that compares two trees."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import ci_common
from ci_common.environments import Comparison
from ci_common.runtime_faults import SetupFailed
from ci_controller.runtime.comparing import program

_HEAD = 4
_MOST_TEXT = 2000


async def compare_archives(*archives: AsyncIterator[bytes]) -> Comparison:
    """Return what differs between the trees in two archives, whose pieces are read one after the other.

    Raises SetupFailed if they cannot be compared, and what reading the archives raises.
    """
    return await _compare(["archives"], archives)


async def compare_directories(one: Path, its_place: Path, other: Path, other_place: Path) -> Comparison:
    """Return what differs between two directories, which were made at the places that they name.

    Raises SetupFailed if they cannot be compared.
    """
    return await _compare(["directories", str(one), str(its_place), str(other), str(other_place)], ())


async def _compare(arguments: list[str], archives: tuple[AsyncIterator[bytes], ...]) -> Comparison:
    root = Path(ci_common.__file__).parents[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", program.__file__, str(root), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
        cwd="/",
    )
    try:
        answer = asyncio.create_task(_answer(process))
        assert process.stdin is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # It has ended, and has said why.
            for archive in archives:
                await _send(archive, process.stdin)
        process.stdin.close()
        output, errors = await answer
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode:
        why = errors.decode(errors="replace").strip()[-_MOST_TEXT:] or f"the program ended with {process.returncode}"
        raise SetupFailed(f"the outcomes of the setup cannot be compared: {why}")
    return Comparison.model_validate_json(output)


async def _answer(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = await asyncio.gather(process.stdout.read(), process.stderr.read())
    await process.wait()
    return output, errors


async def _send(archive: AsyncIterator[bytes], stream: asyncio.StreamWriter) -> None:
    async with aclosing(archive) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            if piece:
                stream.write(len(piece).to_bytes(_HEAD, "big") + piece)
                await stream.drain()
    stream.write(bytes(_HEAD))
    await stream.drain()
