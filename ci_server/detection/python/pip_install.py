"""The calls of pip that install a project and the requirements of its tests."""

from collections.abc import Iterable, Iterator

from ci_server.detection.declarations.pip_files import Contents, read_pip_file
from ci_server.detection.declarations.python_project import PIPFILE, PYPROJECT, PythonProject
from ci_server.detection.python.build_tools import build_tools, needs_build_environment
from ci_server.detection.python.package_locations import Arguments, PackageLocator
from ci_server.detection.python.requirement_files import find_requirement_files
from ci_server.detection.python.test_requirements import find_test_requirements
from ci_server.detection.reading.requirements import MAX_REQUIREMENTS, invalid, normal_name, parse_requirement


def pip_arguments(project: PythonProject) -> Iterator[list[str]]:
    """Yield the arguments of each `pip install`: files with hashes first, then everything else in one call.

    In one call, pip finds versions that satisfy all requirements. A project that is rebuilt at import comes last,
    without build isolation. Raises InvalidRequest.
    """
    yield from _Installation(project).calls()


class _Installation:
    def __init__(self, project: PythonProject) -> None:
        self._project = project
        found = find_requirement_files(project.directory)
        self._needs = find_test_requirements(project, found)
        named = dict.fromkeys([*(("-r", path) for path in found.runtime[:1]), *self._needs.files])
        self._contents = {
            (option, path): read_pip_file(project.files, path, constraint=option == "-c") for option, path in named
        }
        self._locator = PackageLocator(project)
        self._indexes = [*project.indexes.arguments(), *self._needs.indexes]
        self._by_file = next((contents.itself for contents in self._installing() if contents.itself is not None), None)
        """How a requirement file installs the project, if one does."""
        rebuilds = needs_build_environment(project) and self._by_file != ""
        self._without_isolation = project.is_installable and (rebuilds or self._builds_with_private())

    def calls(self) -> Iterator[list[str]]:
        hashed = self._with_hashes()
        for option, path in hashed:
            if option == "-r":
                constraints = [word for file in hashed if file[0] == "-c" for word in file]
                yield [*self._indexes, option, path, *constraints]
        files = [word for file in self._without_hashes(hashed) for word in file]
        if self._without_isolation:
            yield from self._calls_without_isolation(files)
            return
        beside = self._beside_project() if self._project.is_installable else self._of_project()
        words = self._words([*beside, *self._beside_files(), *self._needed()])
        yield from self._call([*files, *self._itself(), *words])

    def _calls_without_isolation(self, files: list[str]) -> Iterator[list[str]]:
        """Yield the calls for a project that is built without isolation, so that its build tools stay for the tests."""
        option, itself = "--no-build-isolation", self._itself()
        tools = self._locator.located(build_tools(self._project), PYPROJECT)
        if self._by_file is None:
            # Its dependencies are installed. If they do not fit, pip must not look for others of the same names.
            alone = ["--no-deps"] if self._project.has_static_dependencies else []
            needed = [*self._of_project(), *(() if alone else self._beside_project())]
            words = self._words([*tools, *needed, *self._beside_files(), *self._needed()])
            yield from self._call([*files, *words])
            yield from self._call([option, *alone, *itself])
        else:
            words = self._words([*self._beside_project(), *self._beside_files(), *self._needed()])
            yield from self._call(list(self._words(tools)))
            yield from self._call([option, *files, *itself, *words])

    def _call(self, words: list[str]) -> Iterator[list[str]]:
        if len(words) > 2 * MAX_REQUIREMENTS:
            raise invalid(PYPROJECT, f"there are more than {MAX_REQUIREMENTS} requirements together")
        if words:
            yield [*self._indexes, *words]

    def _with_hashes(self) -> list[tuple[str, str]]:
        """Return the files that need calls of their own: pip requires hashes for everything in the same call."""
        constrained = any(option == "-c" and contents.has_hashes for (option, _), contents in self._contents.items())
        return [
            file
            for file, contents in self._contents.items()
            if contents.has_hashes or (constrained and file[0] == "-r")
        ]

    def _without_hashes(self, hashed: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Yield the other files, and the constraints of those with hashes: their pins hold for all calls."""
        yield from (file for file in self._contents if file not in hashed)
        inner = dict.fromkeys(path for file in hashed for path in self._contents[file].constraints)
        for path in inner:
            if not read_pip_file(self._project.files, path, constraint=True).has_hashes:
                yield "-c", path

    def _installing(self) -> list[Contents]:
        return [contents for (option, _), contents in self._contents.items() if option == "-r"]

    def _itself(self) -> list[str]:
        """Return the arguments for the project, in the way of a file that installs it: pip accepts no other."""
        extras = self._needs.extras
        if not self._project.is_installable or (self._by_file is not None and not extras):
            return []
        return [*([] if self._by_file == "" else ["-e"]), f".[{','.join(extras)}]" if extras else "."]

    def _beside_project(self) -> Iterator[Arguments]:
        """Yield the arguments for the private dependencies of the project, and for the packages in its Pipfile."""
        for file, requirements in self._declared():
            # Packages in a Pipfile are not in the metadata of the project.
            take = self._locator.located if file == PIPFILE else self._locator.of_metadata
            yield from take(requirements, file)

    def _beside_files(self) -> Iterator[Arguments]:
        """Yield the arguments for private packages in files. With hashes they need none: no foreign package matches."""
        for (_, path), contents in self._contents.items():
            if not contents.has_hashes:
                yield from self._locator.of_metadata(sorted(contents.asked), path)

    def _of_project(self) -> Iterator[Arguments]:
        """Yield the arguments for the dependencies of a project that is not installed (yet)."""
        for file, requirements in self._declared():
            yield from self._locator.located(requirements, file)

    def _declared(self) -> Iterator[tuple[str, list[str]]]:
        yield from self._project.dependencies
        for extra in self._needs.extras:
            yield PYPROJECT, self._project.extras.requirements_of(extra)

    def _needed(self) -> Iterator[Arguments]:
        for requirement, file in self._needs.requirements:
            yield from self._locator.located([requirement], file)
        pinned = [contents.pins["pytest"] for contents in self._contents.values() if "pytest" in contents.pins]
        yield (f"pytest{pinned[0] if self._with_hashes() and pinned else ''}",)

    def _builds_with_private(self) -> bool:
        names = (normal_name(parse_requirement(text, PYPROJECT).name) for text in self._project.build_requirements)
        return any(name in self._project.sources for name in names)

    def _words(self, located: Iterable[Arguments]) -> Iterator[str]:
        """Yield the words of the arguments, each argument once, without those that a file installs already."""
        for arguments in dict.fromkeys(located):
            if not any(contents.installs(arguments) for contents in self._installing()):
                yield from arguments
