"""The package indexes that a project names: replacements of the public index, and indexes of single packages."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ci_server.detection.reading.project_files import ProjectFiles
from ci_server.detection.reading.requirements import normal_name, strings, table_at, unusable

_PUBLIC_HOSTS = frozenset({"pypi.org", "pypi.python.org", "www.pypi.org"})
_ADDRESS = re.compile(r"https?://[^\s$<>{}]+")
PYPROJECT = "pyproject.toml"


@dataclass(slots=True)
class Indexes:
    """The indexes of a project, as its tool uses them."""

    default: list[tuple[str, str]] = field(default_factory=list)
    """The file and the address of each index that replaces the public one."""
    merged: list[tuple[str, str]] = field(default_factory=list)
    """Indexes that the tool asks for every name besides the public one, taking the newest version of all."""
    first: list[tuple[str, str]] = field(default_factory=list)
    """Indexes that the tool asks first, for every name."""
    public_names: set[str] = field(default_factory=set)
    """The names that the project gives to the public index."""

    places: list[tuple[str, str]] = field(default_factory=list)
    """The file and the location of each directory or page with further packages (`find-links`)."""
    without: bool = False
    """Whether the tool uses no index."""

    def arguments(self) -> Iterator[str]:
        """Yield pip's options. Raises InvalidRequest if pip cannot do what the tool does."""
        for file, address in self.first:
            raise unusable(
                file,
                f"the index {address} comes before the public one, and pip has no order of indexes, so it "
                "could install a foreign package of the same name",
            )
        for file, place in self.places:
            if not _ADDRESS.fullmatch(place) and ("://" in place or ProjectFiles.leads_out(place)):
                raise unusable(file, f"the packages in {place[:200]!r} are not in the upload")
            yield from ("--find-links", place if "://" in place else f"./{place.removeprefix('./')}")
        if self.without:
            yield "--no-index"
            return
        if len(self.default) > 1:
            file, address = self.default[1]
            raise unusable(
                file, f"it names several replacements of the public index, such as {address}, and pip takes one"
            )
        for option, named in (("--index-url", self.default), ("--extra-index-url", self.merged)):
            for file, address in named:
                if not _ADDRESS.fullmatch(address):
                    raise unusable(file, f"the address of an index, {address[:200]!r}, cannot be given to pip")
                yield from (option, address)


def read_indexes(document: Mapping[str, Any], uv: Mapping[str, Any], pipfile: Mapping[str, Any]) -> Indexes:
    """Return the indexes in pyproject.toml, in uv.toml (which wins over uv's table there) and in Pipfile."""
    found = Indexes(public_names={"pypi"})
    tools = table_at(document, "tool")
    _take_uv(found, uv or table_at(tools, "uv"), "uv.toml" if uv else PYPROJECT)
    _take_poetry(found, _tables(table_at(tools, "poetry").get("source")))
    _take_merged(found, _tables(table_at(tools, "pdm").get("source")))
    _take_merged(found, _tables(table_at(tools, "rye").get("sources")))
    sources = _tables(pipfile.get("source"))
    every = [*_tables((uv or table_at(tools, "uv")).get("index")), *_tables(table_at(tools, "poetry").get("source"))]
    found.public_names -= {_name(source) for source in every if _address(source) and not _is_public(source)}
    for place, source in enumerate(sources):
        if _is_public(source):
            found.public_names.add(_name(source))
        elif place == 0:
            found.default.append(("Pipfile", _address(source)))
    return found


def patterns_of_private_names(document: Mapping[str, Any]) -> Iterator[tuple[re.Pattern[str], str]]:
    """Yield patterns of names that PDM takes from one index only, and the name of that index."""
    for source in _tables(table_at(document, "tool", "pdm").get("source")):
        if not _is_public(source):
            for pattern in strings(source.get("include_packages"))[:100]:
                yield re.compile(fnmatch.translate(normal_name(pattern[:200]))), _name(source)


def _take_uv(found: Indexes, table: Mapping[str, Any], file: str) -> None:
    for index in _tables(table.get("index")):
        if _is_public(index):
            found.public_names.add(_name(index))
        elif index.get("default") is True:
            found.default.append((file, _address(index)))
        elif index.get("explicit") is not True:
            found.first.append((file, _address(index)))
    pip = table_at(table, "pip")
    if isinstance(address := table.get("index-url", pip.get("index-url")), str) and not _is_public({"url": address}):
        found.default.append((file, address))
    found.without = (table.get("no-index") or pip.get("no-index")) is True
    places = strings(table.get("find-links")) + strings(pip.get("find-links"))
    found.places += [(file, place) for place in dict.fromkeys(places)]
    extra = strings(table.get("extra-index-url")) + strings(pip.get("extra-index-url"))
    found.first += [(file, address) for address in extra if not _is_public({"url": address})]


def _take_poetry(found: Indexes, sources: Iterable[Mapping[str, Any]]) -> None:
    primary = []
    for source in sources:
        if _name(source) == "pypi" or _is_public(source):
            found.public_names.add(_name(source))
        # Indexes with other priorities are asked after the public one, or only for some packages.
        elif str(source.get("priority", "primary")).lower() in ("primary", "default") and not source.get("secondary"):
            primary.append((PYPROJECT, _address(source)))
    if "pypi" in {_name(source) for source in sources}:
        found.first += primary
    else:
        found.default += primary


def _take_merged(found: Indexes, sources: Iterable[Mapping[str, Any]]) -> None:
    for source in sources:
        if _is_public(source):
            found.public_names.add(_name(source))
        elif _name(source) == "pypi" or source.get("default") is True:
            found.default.append((PYPROJECT, _address(source)))
            found.public_names.discard("pypi")
        elif not source.get("include_packages"):
            found.merged.append((PYPROJECT, _address(source)))


def _tables(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _name(source: Mapping[str, Any]) -> str:
    return normal_name(str(source.get("name", "")))


def _address(source: Mapping[str, Any]) -> str:
    return str(source.get("url", ""))


def _is_public(source: Mapping[str, Any]) -> bool:
    try:
        return urlsplit(_address(source)).hostname in _PUBLIC_HOSTS
    except ValueError:
        return False
