"""The calls of pip that install a project and the requirements of its tests."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from ci_server.detection.declarations.pip_files import Contents, read_pip_file
from ci_server.detection.declarations.python_project import PIPFILE, PYPROJECT, PythonProject
from ci_server.detection.python.build_tools import build_tools, needs_build_environment
from ci_server.detection.python.package_locations import Arguments, PackageLocator
from ci_server.detection.python.requirement_files import find_requirement_files
from ci_server.detection.python.test_requirements import find_test_requirements
from ci_server.detection.reading.requirements import MAX_REQUIREMENTS, invalid, normal_name, parse_requirement

Calls = list[list[str]]
"""The arguments of each `pip install`, in order."""


@dataclass(slots=True)
class PreparedInstall:
    """An installation in two parts: what needs no file of the project but requirement files, and the rest."""

    setup: Calls = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    """The requirement files that `setup` reads."""
    build_tools: list[str] = field(default_factory=list)
    """Requirements of the build, for a directory of their own; empty if `install` does not need them there."""
    install: Calls = field(default_factory=list)
    """What is left to do with the whole project; empty if it is not installed."""
    is_alone: bool = False
    """Whether `install` installs the project without what it needs, so that nothing is downloaded."""
    otherwise: Calls = field(default_factory=list)
    """What to do if `install` fails: the usual way."""
    is_copied: bool = False
    """Whether `otherwise` installs a copy of the project, which is not editable."""
    note: str = ""
    """What the log says of it."""
    needs_pip: str = ""
    """Why another program than pip could install something else; empty if it could not."""


def prepared_install(project: PythonProject) -> PreparedInstall:
    """Return the same installation as `pip_arguments`, in two parts. Raises InvalidRequest."""
    return _Installation(project).in_two_parts()


def pip_arguments(project: PythonProject) -> Iterator[list[str]]:
    """Yield the arguments of each `pip install`: files with hashes first, then everything else in one call.

    In one call, pip finds versions that satisfy all requirements. A project that is rebuilt at import comes last,
    without build isolation. Raises InvalidRequest.
    """
    yield from _Installation(project).calls()


def copying(project: PythonProject, calls: Calls) -> Calls:
    """Return the calls that install a copy of the project instead, if it may be installable only so; else none."""
    copies = [list(_not_editable(call)) for call in calls]
    return copies if project.builds_extensions_itself and copies != calls else []


def _not_editable(call: list[str]) -> Iterator[str]:
    for word, after in zip(call, [*call[1:], ""], strict=True):
        if word != "-e" or not (after == "." or after.startswith(".[")):
            yield word


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

    def in_two_parts(self) -> PreparedInstall:
        """Return the installation in two parts; the first one is empty if it cannot be told from the second."""
        whole = list(self.calls())
        self._locator = PackageLocator(self._project)  # The one before has given each folder once.
        parts = PreparedInstall(install=whole, needs_pip=self._why_pip())
        mixed = [file for file, contents in self._contents.items() if self._has_own_folders(file, contents)]
        if whole_file := next((path for option, path in mixed if not self._is_divisible((option, path))), None):
            parts.note = f"{whole_file} installs from the project's own files"
            return parts
        parts.inputs = sorted(set(self._inputs(mixed)))
        hashed = self._with_hashes()
        number = sum(option == "-r" for option, _ in hashed)
        if self._without_isolation and self._by_file is None:
            return self._split(parts, whole, number + 1)
        files = [word for file in self._without_hashes(hashed) if file not in mixed for word in file]
        files += [word for path in self._constraints_of(mixed) for word in ("-c", path)]
        tools = self._locator.located(build_tools(self._project), PYPROJECT) if self._without_isolation else ()
        needed = [*tools, *self._of_project(), *self._of_files(mixed), *self._beside_files(), *self._needed()]
        words = list(self._words(needed, mixed))
        public = _without_local([*words, *self._words(self._locator.of_folders(), mixed)])
        parts.setup = [*whole[:number], *self._call([*files, *public])]
        if _without_local(words) != words:
            parts.install, parts.note = whole[number:], "some of its requirements are in the project's own folders"
        elif not self._project.is_installable:
            parts.install = []
        elif not self._project.has_known_dependencies:
            parts.install, parts.note = whole[number:], "only its build knows all of its dependencies"
        else:
            parts.install, parts.is_alone = [["--no-deps", "--no-build-isolation", *self._alone()]], True
            parts.otherwise = whole[number:]
            if not self._without_isolation:
                parts.build_tools = build_tools(self._project) or ["setuptools", "wheel"]
            if self._project.build_system is None:
                parts.build_tools = ["setuptools", "wheel"]
        if copied := copying(self._project, whole[number:]):
            parts.otherwise, parts.is_copied = copied, True
        return parts

    def _has_own_folders(self, file: tuple[str, str], contents: Contents) -> bool:
        """Return whether a file installs the project, a folder of it, or a package that is only in one of its folders.

        In a file with hashes, such a package is one that has the hash.
        """
        if contents.itself is not None or contents.paths:
            return True
        private = [] if contents.has_hashes else list(self._locator.of_metadata(sorted(contents.asked), file[1]))
        words = [word for arguments in private for word in arguments]
        return file[0] == "-r" and _without_local(words) != words

    def _is_divisible(self, file: tuple[str, str]) -> bool:
        """Return whether the lines of a file mean the same outside of it, and none of them is a folder."""
        contents = self._contents[file]
        is_plain = not (contents.paths or contents.has_hashes or contents.has_options)
        return is_plain and (contents.itself is None or self._project.is_installable)

    def _inputs(self, mixed: list[tuple[str, str]]) -> Iterator[str]:
        """Yield the files that a setup reads: of those that are given line by line, only their constraints."""
        yield from (path for file in self._contents if file not in mixed for path in self._contents[file].files)
        for path in self._constraints_of(mixed):
            yield from read_pip_file(self._project.files, path, constraint=True).files

    def _constraints_of(self, files: list[tuple[str, str]]) -> list[str]:
        return list(dict.fromkeys(path for file in files for path in self._contents[file].constraints))

    def _of_files(self, files: list[tuple[str, str]]) -> Iterator[Arguments]:
        for file in files:
            yield from self._locator.located(self._contents[file].others, file[1])

    @staticmethod
    def _split(parts: PreparedInstall, whole: Calls, number: int) -> PreparedInstall:
        """Divide the calls where the project follows its build tools, if that needs none of its files before."""
        if any(_without_local(call) != call for call in whole[:number]):
            parts.note = "some of its requirements are in the project's own folders"
            return parts
        parts.setup, parts.install = whole[:number], whole[number:]
        return parts

    def _files(self) -> Iterator[tuple[str, Contents]]:
        yield from ((path, contents) for (_, path), contents in self._contents.items())

    def _why_pip(self) -> str:
        if self._indexes:
            return "the project names package indexes"
        for path, contents in self._files():
            if contents.has_hashes:
                return f"{path} has hashes"
            if contents.has_options:
                return f"{path} has options of pip"
        return ""

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

    def _alone(self) -> list[str]:
        """Return the arguments for the project alone, in the way of a file that installs it."""
        extras = f"[{','.join(self._extras)}]" if self._extras else ""
        return [*([] if self._by_file == "" else ["-e"]), f".{extras}"]

    @property
    def _extras(self) -> list[str]:
        """The extras that are installed, those that a file names included."""
        named = [extra for contents in self._installing() for extra in contents.extras]
        return list(dict.fromkeys([*self._needs.extras, *named]))

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
        for extra in self._extras:
            yield PYPROJECT, self._project.extras.requirements_of(extra)

    def _needed(self) -> Iterator[Arguments]:
        for requirement, file in self._needs.requirements:
            yield from self._locator.located([requirement], file)
        pinned = [contents.pins["pytest"] for contents in self._contents.values() if "pytest" in contents.pins]
        yield (f"pytest{pinned[0] if self._with_hashes() and pinned else ''}",)

    def _builds_with_private(self) -> bool:
        names = (normal_name(parse_requirement(text, PYPROJECT).name) for text in self._project.build_requirements)
        return any(name in self._project.sources for name in names)

    def _words(self, located: Iterable[Arguments], mixed: Container[tuple[str, str]] = ()) -> Iterator[str]:
        """Yield the words of the arguments, each argument once, without those that a file installs already.

        The files that are `mixed` are not given to pip.
        """
        given = [contents for file, contents in self._contents.items() if file[0] == "-r" and file not in mixed]
        for arguments in dict.fromkeys(located):
            if not any(contents.installs(arguments) for contents in given):
                yield from arguments


def _without_local(words: list[str]) -> list[str]:
    """Return the arguments without those that name a folder of the project."""
    public, following = [], iter(words)
    for word in following:
        if word == "-e":
            next(following, None)
        elif not word.startswith(("./", ".[")) and word != ".":
            public.append(word)
    return public
