"""Chooses the arguments of pip for each requirement, so that pip asks the public index for no private name."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from packaging.requirements import Requirement

from ci_server.detection.declarations.indexes import patterns_of_private_names
from ci_server.detection.declarations.python_project import PYPROJECT, PythonProject
from ci_server.detection.declarations.sources import Source, path_below_root
from ci_server.detection.python.build_tools import needs_build_environment
from ci_server.detection.reading.project_files import ProjectFiles
from ci_server.detection.reading.requirements import (
    invalid,
    normal_name,
    parse_requirement,
    strings,
    unusable,
    with_marker,
)

_MAX_LOCAL = 100
_MAX_DEPTH = 50
_EDITABLE = ("-e ", "--editable ", "--editable=")

Arguments = tuple[str, ...]
"""The arguments of pip for one requirement."""


class PackageLocator:
    """Finds the locations of packages that a project does not take from the public index."""

    def __init__(self, project: PythonProject) -> None:
        self._project = project
        self._root = project.files
        self._entered: set[str] = set()
        self._unread: list[tuple[PythonProject, str, list[tuple[str, list[str]]]]] = []
        self._editable_paths: dict[str, bool] = {}

    def located(self, requirements: Iterable[str], file: str) -> Iterator[Arguments]:
        """Yield the arguments for the requirements and for the private dependencies of their projects.

        Raises InvalidRequest if one is not a requirement, or pip cannot install it from its location.
        """
        yield from self._located(requirements, file, self._project, ".")

    def of_metadata(self, requirements: Iterable[str], file: str) -> Iterator[Arguments]:
        """Yield the arguments for the private ones among the requirements in the project's metadata."""
        yield from self._private(requirements, file, self._project, ".")

    def of_folders(self) -> Iterator[Arguments]:
        """Yield the arguments for the dependencies of the folders that have been located, and of those below them."""
        while self._unread:
            project, path, wanted = self._unread.pop()
            for file, texts in wanted:
                yield from self._located(texts, file, project, path)

    def _private(self, texts: Iterable[str], file: str, project: PythonProject, base: str) -> Iterator[Arguments]:
        for text in texts:
            requirement = parse_requirement(text, file)
            sources = self._sources_of(requirement, project, base)
            if not project.extras.is_own(requirement.name) and sources and not all(s.by_backend for s in sources):
                yield from self._from_sources(requirement, sources, in_metadata=True)

    def _located(self, texts: Iterable[str], file: str, project: PythonProject, base: str) -> Iterator[Arguments]:
        words = [" ".join(text.split()) for text in texts]
        plain = [text for text in words if not text.startswith(_EDITABLE)]
        for text in (text for text in words if text.startswith(_EDITABLE)):
            yield from self._editable(text, file, base)
        for text in project.extras.without_own(plain, file):
            requirement = parse_requirement(text, file)
            path = path_below_root(requirement.url) if requirement.url else None
            sources = self._sources_of(requirement, project, base)
            if path is not None:
                yield from self._local(Source(file, path=path, base=base), requirement)
            elif requirement.url and "{" in requirement.url:
                raise unusable(file, f"{text!r} is only known when Hatch runs")
            elif sources:
                yield from self._from_sources(requirement, sources, in_metadata=False)
            else:
                yield (text,)

    def _sources_of(self, requirement: Requirement, project: PythonProject, base: str) -> list[Source]:
        """Return the private locations of a package: those that its project names, or else those of the root."""
        if requirement.url is not None:
            return []
        name = normal_name(requirement.name)
        declared = [replace(source, base=base) for source in project.sources.get(name, ())]
        if not declared:
            # The metadata of this project does not have the locations that the root's build writes into its own.
            declared = [replace(source, by_backend=False) for source in self._project.sources.get(name, ())]
        for pattern, index in patterns_of_private_names(project.document):
            if pattern.fullmatch(name):
                declared.append(Source(PYPROJECT, index=index))
        public = project.indexes.public_names | self._project.indexes.public_names
        return [source for source in declared if not source.index or normal_name(source.index) not in public]

    def _from_sources(
        self, requirement: Requirement, sources: list[Source], *, in_metadata: bool
    ) -> Iterator[Arguments]:
        """Yield the arguments for a requirement. `in_metadata`: pip also reads it in the project's metadata."""
        for source in sources:
            if source.index:
                raise unusable(
                    source.file,
                    f"{requirement.name} comes from the index {source.index!r} only, and pip would ask all indexes",
                )
            if source.address:
                yield (self._direct(requirement, source),)
            elif source.workspace:
                member = self._member(requirement.name, source)
                yield from self._local(member, requirement, in_metadata=in_metadata)
            else:
                yield from self._local(source, requirement, in_metadata=in_metadata)

    def _direct(self, requirement: Requirement, source: Source) -> str:
        if "://" not in source.address:
            raise unusable(source.file, f"{requirement.name} comes from {source.address!r}, which is not an address")
        name = f"{requirement.name}[{','.join(sorted(requirement.extras))}]" if requirement.extras else requirement.name
        folder = f"#subdirectory={source.subdirectory}" if source.subdirectory else ""
        plain = f"{name} @ {source.address}{folder}"
        direct = with_marker(plain, parse_requirement(plain, source.file), str(requirement.marker or ""))
        direct = with_marker(direct, parse_requirement(direct, source.file), source.marker)
        parse_requirement(direct, source.file)
        return direct

    def _local(self, source: Source, requirement: Requirement, *, in_metadata: bool = False) -> Iterator[Arguments]:
        """Yield the arguments for a path of the upload and for the private dependencies of its project."""
        path = self._root.inside(source.path, source.base)
        if path is None:
            raise unusable(source.file, f"{requirement.name} comes from {source.path!r}, which is not in the upload")
        if path == ".":
            return
        project = self._entered_project(path, source)
        condition = requirement.marker
        if source.marker:
            condition = parse_requirement(with_marker("", requirement, source.marker), source.file).marker
        marker = f" ; {condition}" if condition else ""
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        if project is not None and not in_metadata and self._is_virtual(project, source):
            # A project that is not a package only has dependencies. If pip reads its name in metadata, it is given all
            # the same: pip builds it or fails, and does not ask the public index for a package of that name.
            if path not in self._entered:
                self._entered.add(path)
                for file, texts in project.dependencies:
                    yield from self._located(texts, file, project, path)
            return
        # pip accepts no conditions on editable installs, and a package that is rebuilt at import needs its build tools.
        editable = source.editable and project is not None and not marker and not needs_build_environment(project)
        # Nor does it accept both kinds for one package.
        editable = self._editable_paths.setdefault(path, editable)
        yield ("-e", f"./{path}{extras}") if editable else (f"./{path}{extras}{marker}",)
        if project is not None and path not in self._entered:
            self._entered.add(path)
            self._check_build(project, path)
            wanted = [(file, texts) for file, texts in project.dependencies]
            wanted += [(PYPROJECT, project.extras.requirements_of(extra)) for extra in sorted(requirement.extras)]
            self._unread.append((project, path, wanted))
            for file, texts in wanted:
                yield from self._private(texts, file, project, path)

    def _entered_project(self, path: str, source: Source) -> PythonProject | None:
        directory = self._root.directory / path
        if not directory.is_dir():
            return None
        if not any((directory / name).is_file() for name in ("pyproject.toml", "setup.py")):
            raise unusable(source.file, f"the folder {path!r} has neither a pyproject.toml nor a setup.py")
        if len(self._entered) >= _MAX_LOCAL:
            raise invalid(source.file, f"more than {_MAX_LOCAL} packages come from folders")
        return self._member_projects.get(path) or PythonProject(directory)

    @staticmethod
    def _is_virtual(project: PythonProject, source: Source) -> bool:
        return source.virtual or not (source.by_backend or project.is_installable)

    def _check_build(self, project: PythonProject, path: str) -> None:
        for text in project.build_requirements:
            requirement = parse_requirement(text, PYPROJECT)
            if self._sources_of(requirement, project, path):
                raise unusable(
                    PYPROJECT, f"the build of {project.name or 'a package'} needs {text!r}, which is private"
                )

    def _editable(self, text: str, file: str, base: str) -> Iterator[Arguments]:
        """Yield the arguments for an editable requirement; none for a directory that is not in the upload."""
        what = text.replace("--editable=", "-e ").split(None, 1)[1].strip()
        address, _, fragment = what.partition("#")
        parts = dict(part.partition("=")[::2] for part in fragment.split("&"))
        path = path_below_root(address)
        if path is None and "://" not in address:
            path = address
        extras = ""
        if path is not None and path.endswith("]"):
            path, bracket, rest = path.partition("[")
            extras = bracket + rest
        named = parse_requirement(parts.get("egg") or f"unnamed{extras}", file)
        if path is not None:
            yield from self._local(Source(file, path=path, base=base, editable=True), named)
        elif not address.startswith("file:"):
            folder = f"#subdirectory={parts['subdirectory']}" if "subdirectory" in parts else ""
            direct = f"{named} @ {address}{folder}"
            parse_requirement(direct, file)
            yield (direct,)

    @property
    def _workspace(self) -> dict[str, object]:
        return self._project.table("tool", "uv", "workspace")

    @cached_property
    def _member_projects(self) -> dict[str, PythonProject]:
        """The projects of the workspace, by path."""
        excluded = set(self._matched("exclude"))
        paths = self._matched("members")
        found = [path for path in dict.fromkeys(paths) if path not in excluded]
        if len(found) > _MAX_LOCAL:
            raise invalid(PYPROJECT, f"the workspace has more than {_MAX_LOCAL} members")
        return {path: PythonProject(self._root.directory / path) for path in found}

    def _matched(self, key: str) -> list[str]:
        patterns = list(dict.fromkeys(strings(self._workspace.get(key))))
        if len(patterns) > _MAX_LOCAL:
            raise invalid(PYPROJECT, f"the workspace has more than {_MAX_LOCAL} patterns as its {key}")
        return [path for pattern in patterns for path in self._matches(pattern)]

    def _matches(self, pattern: str) -> Iterator[str]:
        root: Path = self._root.directory
        if ProjectFiles.leads_out(pattern) or pattern.count("**") > 1 or pattern.count("/") > _MAX_DEPTH:
            raise invalid(PYPROJECT, f"{pattern[:200]!r} is not a pattern for folders of the workspace")
        for path in sorted(root.glob(pattern)):
            if (path / PYPROJECT).is_file():
                yield os.path.relpath(path, root)

    def _member(self, name: str, source: Source) -> Source:
        for path, project in self._member_projects.items():
            if project.name and normal_name(project.name) == normal_name(name):
                return Source(source.file, path=path, editable=source.editable, marker=source.marker)
        if self._project.extras.is_own(name):
            return Source(source.file, path=".")
        raise unusable(source.file, f"{name} comes from the workspace, and the upload has no member of that name")
