"""The list of projects, and their source archives: fetched from pip's package index once, checked, and kept."""

import hashlib
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
from pip._internal.models.index import PyPI

from tests.engine.images import DEFAULT_IMAGE

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("projects.toml")
ARCHIVES = ROOT / ".cache" / "sources"
_SIMPLE = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class Source:
    """One project, as the list has it."""

    name: str
    version: str
    sha256: str
    build: str
    """The build system, for people."""
    instructions: str
    """Shell text that installs and tests the project as its maker says."""
    origin: str = "its extras and test settings"
    """The file that the instructions are from."""
    why: str = ""
    """What is known of a difference."""
    why_report: str = ""
    """What is known of a difference between the test report and what pytest prints."""
    image: str = DEFAULT_IMAGE
    """The image in which it runs, both ways."""

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


def read_list(path: Path = LIST) -> list[Source]:
    """Return the projects of the list."""
    return [Source(**entry) for entry in tomllib.loads(path.read_text())["project"]]


def archive_of(source: Source) -> Path:
    """Return the project's source archive, downloaded if need be. Raises ValueError if it is another than listed."""
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    path = ARCHIVES / f"{source.name}-{source.version}.tar.gz"
    if not path.exists():
        draft = path.with_suffix(".new")
        draft.write_bytes(_get(_file_of(source)["url"]).content)
        draft.replace(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != source.sha256:
        raise ValueError(f"{path.name} has the digest {digest}, and the list says {source.sha256}")
    return path


def unpack(source: Source, directory: Path) -> Path:
    """Unpack the source archive below `directory`, and return the project's folder."""
    with tarfile.open(archive_of(source)) as archive:
        archive.extractall(directory, filter="data")
    (folder,) = directory.iterdir()
    return folder


def _file_of(source: Source) -> dict[str, Any]:
    """Return what the index says of the source archive."""
    listing = urljoin(_index(), f"{source.name}/")
    answer = _get(listing, accept=_SIMPLE)
    for file in answer.json()["files"]:
        if file["hashes"].get("sha256") == source.sha256:
            return {**file, "url": urljoin(str(answer.url), file["url"])}
    raise ValueError(f"the index has no file of {source.requirement} with this digest")


def _index() -> str:
    """Return the address of the index that pip uses."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return (configured or PyPI.simple_url).rstrip("/") + "/"


def _get(url: str, accept: str = "*/*") -> httpx.Response:
    answer = httpx.get(url, headers={"Accept": accept}, follow_redirects=True, timeout=180)
    return answer.raise_for_status()
