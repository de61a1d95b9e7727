"""Signs records, and checks signatures, by the program ssh-keygen: `ssh-keygen -Y`, in the namespace `ci-record`."""

import os
import shutil
from pathlib import Path
from typing import Final

import anyio
import click

from ci_client.errors import NotWritten
from ci_client.records import Check

NAMESPACE: Final = "ci-record"


async def sign(document: bytes, path: Path, key: Path) -> tuple[Path, Path]:
    """Write the document to `path` and its signature beside it, and return both.

    ssh-keygen asks for the key's passphrase if it has one. Raises NotWritten, and click.UsageError if it cannot sign.
    """
    program, target = _program(), path.with_name(f"{path.name}.sig")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(document)
        target.unlink(missing_ok=True)
    except OSError as exc:
        raise NotWritten(f"{path} cannot be written: {exc.strerror}") from exc
    command = [program, "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(path)]
    result = await anyio.run_process(command, stdin=None, check=False)
    if result.returncode != 0 or not target.exists():
        raise click.UsageError(f"ssh-keygen cannot sign with {key}: {_said(result.stderr or result.stdout)}")
    return path, target


async def check_signature(document: bytes, signature: Path, signers: Path, signer: str) -> Check:
    """Check who has signed the document."""
    program = _program()
    for file in (signature, signers):
        if not os.access(file, os.R_OK):
            raise click.UsageError(f"{file} cannot be read")
    command = [program, "-Y", "verify", "-f", str(signers), "-I", signer, "-n", NAMESPACE, "-s", str(signature)]
    result = await anyio.run_process(command, input=document, check=False)
    return Check("signature", ok=result.returncode == 0, text=_said(result.stdout or result.stderr))


def _program() -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise click.UsageError("the program ssh-keygen is not here; it comes with OpenSSH (Debian: openssh-client)")
    return program


def _said(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it says nothing"
