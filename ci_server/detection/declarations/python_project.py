"""The metadata of a Python project in pyproject.toml, setup.cfg, setup.py and Pipfile."""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ci_server.detection.declarations.dependency_groups import GroupError, Groups
from ci_server.detection.declarations.extras import OwnExtras, dynamic_dependencies, read_extras
from ci_server.detection.declarations.indexes import Indexes, read_indexes
from ci_server.detection.declarations.poetry import poetry_requirements
from ci_server.detection.declarations.setuptools_files import SetupCfg, read_setup_py
from ci_server.detection.declarations.sources import Sources, pipenv_categories, read_sources
from ci_server.detection.reading.project_files import ProjectFiles
from ci_server.detection.reading.requirements import invalid, normal_name, setuptools_lines, strings, table_at

PYPROJECT = "pyproject.toml"
PIPFILE = "Pipfile"


class PythonProject:
    """The metadata of the project in a directory. Values of a wrong type count as absent."""

    def __init__(self, directory: Path) -> None:
        """Raises InvalidRequest if a file does not have the format of its name."""
        self.files = ProjectFiles(directory)
        self.directory = directory
        self.document = self.files.toml(PYPROJECT)
        self.hatch = {**self.table("tool", "hatch"), **self.files.toml("hatch.toml")}
        self.build_system = self.table("build-system") if "build-system" in self.document else None
        self.setup_text = "\n".join(self.files.text(name) for name in ("setup.py", "setup.cfg"))
        self.setup_cfg = SetupCfg(self.files)
        self._setup_py = read_setup_py(self.files.text("setup.py"))
        self._pipfile = self.files.toml(PIPFILE)

    def table(self, *path: str) -> dict[str, Any]:
        """Return a table of pyproject.toml; empty if there is none."""
        return table_at(self.document, *path)

    @property
    def is_installable(self) -> bool:
        """Whether pip can install the directory, and the project is meant to be installed."""
        uv = self.table("tool", "uv").get("package")
        if self.table("tool", "poetry").get("package-mode") is False or uv is False:
            return False
        if self.files.has("setup.py") or self.build_system is not None or uv is True:
            return True
        return self.files.has(PYPROJECT) and bool(self.setup_cfg.name)

    @cached_property
    def name(self) -> str:
        """The project's name; empty if it cannot be read."""
        flit = self.table("tool", "flit", "metadata")
        named = (
            self.table("project").get("name"),
            self.table("tool", "poetry").get("name"),
            flit.get("dist-name", flit.get("module")),
            self.setup_cfg.name,
            self._setup_py.name,
        )
        return next((name for name in named if isinstance(name, str) and name), "")

    @cached_property
    def extras(self) -> OwnExtras:
        """The project's extras."""
        return OwnExtras(self.name, read_extras(self.document, self.files, self.setup_cfg, self._setup_py))

    @cached_property
    def groups(self) -> dict[str, Callable[[], list[str]]]:
        """For each dependency group, a function that returns its requirements, or raises InvalidRequest."""
        groups = self._groups
        found: dict[str, Callable[[], list[str]]] = {name: partial(_sound, groups, name) for name in groups}
        for category in pipenv_categories(self._pipfile):
            name = "dev" if category == "dev-packages" else normal_name(category)
            found.setdefault(name, partial(poetry_requirements, table_at(self._pipfile, category)))
        return found

    def group_file(self, name: str) -> str:
        """Return the file that declares a group."""
        return PYPROJECT if name in self._groups else PIPFILE

    @property
    def optional_groups(self) -> set[str]:
        """The groups that Poetry installs only on demand."""
        return self._groups.optional

    @cached_property
    def _groups(self) -> Groups:
        return Groups(self.document, self.hatch, self.name)

    @property
    def tests_require(self) -> list[tuple[str, list[str]]]:
        """The requirements of the former command `setup.py test`, by the declaring file."""
        return [
            ("setup.cfg", self.setup_cfg.tests_require),
            ("setup.py", setuptools_lines(self._setup_py.tests_require)),
        ]

    @cached_property
    def dependencies(self) -> list[tuple[str, list[str]]]:
        """The requirements of the project at run time, by the declaring file."""
        poetry = self.table("tool", "poetry", "dependencies")
        pyproject = [
            *strings(self.table("project").get("dependencies")),
            *strings(self.table("tool", "flit", "metadata").get("requires")),
            *dynamic_dependencies(self.document, self.files),
            *poetry_requirements(poetry),
        ]
        packages = table_at(self._pipfile, "packages")
        return [
            (PYPROJECT, pyproject),
            ("setup.cfg", self.setup_cfg.install_requires),
            ("setup.py", setuptools_lines(self._setup_py.install_requires)),
            (PIPFILE, poetry_requirements(packages)),
        ]

    @property
    def has_static_dependencies(self) -> bool:
        """Whether pyproject.toml has all dependencies and extras of the project."""
        dynamic = {"dependencies", "optional-dependencies"} & set(strings(self.table("project").get("dynamic")))
        return "project" in self.document and not dynamic

    @property
    def has_known_dependencies(self) -> bool:
        """Whether `dependencies` and `extras` have all that the build will name, so that it adds none."""
        if self.has_static_dependencies:
            return True
        if "project" not in self.document:
            is_of_poetry = self.table("tool", "poetry") and "dynamic" not in self.table("tool", "poetry")
            return bool(is_of_poetry or self.table("tool", "flit", "metadata"))
        read = self.table("tool", "setuptools", "dynamic")
        dynamic = {"dependencies", "optional-dependencies"} & set(strings(self.table("project").get("dynamic")))
        # setuptools reads the others itself; `setup.py` could still add to them.
        return all(self._is_of_files(read.get(name)) for name in dynamic) and not self.files.has("setup.py")

    @staticmethod
    def _is_of_files(declared: object) -> bool:
        tables = declared.values() if isinstance(declared, dict) and "file" not in declared else [declared]
        return all(isinstance(table, dict) and "file" in table for table in tables) and bool(declared)

    @property
    def builds_extensions_itself(self) -> bool:
        """Whether `setup.py` changes how extensions are built.

        Most that do this build without them where there is no compiler, by a second call of `setup`, which an editable
        build does not survive.
        """
        return "build_ext" in self.files.text("setup.py")

    @property
    def build_requirements(self) -> list[str]:
        """The requirements of its build."""
        return strings((self.build_system or {}).get("requires"))

    @cached_property
    def sources(self) -> Sources:
        """The locations of packages that do not come from the public index."""
        return read_sources(self.document, self._pipfile)

    @cached_property
    def indexes(self) -> Indexes:
        """The package indexes that the project names."""
        return read_indexes(self.document, self.files.toml("uv.toml"), self._pipfile)


def _sound(groups: Groups, name: str) -> list[str]:
    try:
        return groups[name]
    except GroupError as exc:
        raise invalid(PYPROJECT, str(exc)) from exc
