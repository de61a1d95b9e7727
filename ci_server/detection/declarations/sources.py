"""The locations of packages that a project does not take from the public index: paths, addresses, other indexes."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ci_server.detection.declarations.poetry import entries, git_address, is_local
from ci_server.detection.reading.requirements import normal_name, table_at

_ROOTS = ("{root:uri}", "file:///${PROJECT_ROOT}", "file://${PROJECT_ROOT}", "{root:real:uri}")
"""The notations of Hatch and PDM for the project's directory."""

_NO_CATEGORIES = frozenset({"packages", "source", "requires", "scripts", "pipenv"})
"""Tables of a Pipfile that are not additional groups of packages."""


@dataclass(frozen=True, slots=True)
class Source:
    """The location of a package. Exactly one of `path`, `address`, `index` and `workspace` is set."""

    file: str
    """The file that declares it."""
    path: str = ""
    base: str = "."
    """The folder to which the path is relative."""
    address: str = ""
    index: str = ""
    workspace: bool = False
    editable: bool = False
    marker: str = ""
    subdirectory: str = ""
    virtual: bool = False
    """Whether the folder is not a package, but only has dependencies."""
    by_backend: bool = False
    """Whether the build of the project writes the location into its metadata."""


Sources = Mapping[str, list[Source]]


def read_sources(document: Mapping[str, Any], pipfile: Mapping[str, Any]) -> dict[str, list[Source]]:
    """Return the sources in the settings of uv, Poetry and Pipenv, by the normal names of the packages."""
    found: dict[str, list[Source]] = {}
    declared = [*_of_uv(table_at(document, "tool", "uv", "sources")), *_of_poetry(document), *_of_pipfile(pipfile)]
    for name, source in declared:
        found.setdefault(normal_name(name), []).append(source)
    return found


def path_below_root(address: str) -> str | None:
    """Return the path in an address that begins with a notation for the project's directory; None for others."""
    for root in _ROOTS:
        if address == root or address.startswith((f"{root}/", f"{root}#")):
            return unquote(address.removeprefix(root).partition("#")[0]).strip("/") or "."
    return None


def pipenv_categories(pipfile: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of Pipenv's groups of packages, without the dependencies of the project itself."""
    return (name for name, value in pipfile.items() if isinstance(value, dict) and name not in _NO_CATEGORIES)


def _of_uv(table: Mapping[str, Any]) -> Iterator[tuple[str, Source]]:
    for name, value in table.items():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, dict) and (source := _uv_source(entry)) is not None:
                yield name, source


def _uv_source(entry: Mapping[str, Any]) -> Source | None:
    file, marker = "pyproject.toml", str(entry.get("marker", ""))
    subdirectory = str(entry.get("subdirectory", ""))
    if "git" in entry:
        address = git_address(entry)
        # A repository in a directory cannot be in the upload, because a history is not a project.
        return Source(file, address=address or str(entry["git"]), marker=marker)
    if "url" in entry:
        return Source(file, address=str(entry["url"]), marker=marker, subdirectory=subdirectory)
    if "path" in entry:
        editable = entry.get("editable") is True
        path = os.path.join(str(entry["path"]), subdirectory) if subdirectory else str(entry["path"])
        return Source(file, path=path, editable=editable, marker=marker, virtual=entry.get("package") is False)
    if entry.get("workspace") is True:
        return Source(file, workspace=True, editable=entry.get("editable") is not False, marker=marker)
    if "index" in entry:
        return Source(file, index=str(entry["index"]), marker=marker)
    return None


def _of_poetry(document: Mapping[str, Any]) -> Iterator[tuple[str, Source]]:
    poetry = table_at(document, "tool", "poetry")
    own = "dependencies" not in table_at(document, "project")
    yield from _of_tables("pyproject.toml", table_at(poetry, "dependencies"), by_backend=own)
    yield from _of_tables("pyproject.toml", table_at(poetry, "dev-dependencies"))
    for group in table_at(poetry, "group").values():
        yield from _of_tables("pyproject.toml", table_at(group, "dependencies"))


def _of_pipfile(pipfile: Mapping[str, Any]) -> Iterator[tuple[str, Source]]:
    for name in ("packages", *pipenv_categories(pipfile)):
        yield from _of_tables("Pipfile", table_at(pipfile, name))


def _of_tables(file: str, table: Mapping[str, Any], *, by_backend: bool = False) -> Iterator[tuple[str, Source]]:
    for name, value in entries(table):
        if not isinstance(value, dict):
            continue
        index = str(value.get("source", value.get("index", "")))
        editable = value.get("editable") is True
        if is_local(value):
            path = str(value.get("path", value.get("file", value.get("git"))))
            path = os.path.join(path, str(value["subdirectory"])) if "subdirectory" in value else path
            yield name, Source(file, path=path, editable=editable, by_backend=by_backend)
        elif "git" in value or "url" in value or "file" in value:
            address = git_address(value) if "git" in value else value.get("url", value.get("file"))
            yield name, Source(file, address=str(address), by_backend=by_backend)
        elif index:
            yield name, Source(file, index=index)
