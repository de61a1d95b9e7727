"""No name that a project takes from a private place is asked of the public index."""

import re
from pathlib import Path

import pytest

from ci_common.errors import InvalidRequest
from tests.helpers.untrusted import BUILT, pip_calls

FOO = {"libs/foo/pyproject.toml": BUILT.replace("thing", "foo")}
GROUP = BUILT + '[dependency-groups]\ntest = ["foo[x]>=1"]\n[tool.uv.sources]\n'
POETRY = '[build-system]\nrequires = ["poetry-core"]\n[tool.poetry]\nname = "thing"\n'
INDEX = '[[tool.uv.index]]\nname = "internal"\nurl = "https://pkgs.example.org/simple"\n'


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ('{path = "libs/foo"}', ["./libs/foo[x]"]),
        ('{path = "./libs/../libs/foo/", editable = true}', ["-e", "./libs/foo[x]"]),
        ('{git = "https://example.org/foo"}', ["foo[x] @ git+https://example.org/foo"]),
        ('{git = "https://example.org/foo", rev = "1a"}', ["foo[x] @ git+https://example.org/foo@1a"]),
        ('{git = "git@example.org:a/foo.git"}', ["foo[x] @ git+ssh://git@example.org/a/foo.git"]),
        (
            '{git = "https://example.org/foo", tag = "v1", subdirectory = "py"}',
            ["foo[x] @ git+https://example.org/foo@v1#subdirectory=py"],
        ),
        ('{url = "https://example.org/foo.whl"}', ["foo[x] @ https://example.org/foo.whl"]),
        (
            """[{url = "https://e.org/foo.whl", marker = "sys_platform == 'linux'"},
                {path = "libs/foo", marker = "sys_platform != 'linux'"}]""",
            [
                "foo[x] @ https://e.org/foo.whl ; sys_platform == 'linux'",
                './libs/foo[x] ; sys_platform != "linux"',
            ],
        ),
        ('{index = "pypi"}', ["foo[x]>=1"]),
    ],
)
def test_sources_of_uv(tmp_path: Path, source: str, given: list[str]) -> None:
    files = FOO | {"pyproject.toml": f"{GROUP}FOO = {source}\n".replace("\n                ", " ")}
    assert pip_calls(tmp_path, files) == [["-e", ".", *given, "pytest"]]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('{path = "../foo"}', "'../foo', which is not in the upload"),
        ('{path = "/srv/foo"}', "'/srv/foo', which is not in the upload"),
        ('{path = "libs/gone"}', "'libs/gone', which is not in the upload"),
        ('{path = "libs"}', "neither a pyproject.toml nor a setup.py"),
        ("{workspace = true}", "the upload has no member of that name"),
        ('{git = "../foo"}', "not an address"),
        ('{path = "libs/foo", marker = "so --no-index"}', "is not valid"),
        ('{url = "https://e.org/a b"}', "is not valid"),
        ('{index = "internal"}', "index 'internal'"),
    ],
)
def test_sources_that_pip_cannot_be_given(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=r"pyproject\.toml (cannot be used.*ci\.yaml|is not valid)") as refused:
        pip_calls(tmp_path, FOO | {"pyproject.toml": f"{GROUP}foo = {source}\n"})
    assert message in str(refused.value)
    assert "foo" in str(refused.value) or "libs" in str(refused.value)


def test_one_package_is_installed_in_one_way(tmp_path: Path) -> None:
    text = f"""{BUILT}dependencies = ["foo"]\n[dependency-groups]\ntest = ["foo ; os_name == 'posix'"]\n"""
    files = FOO | {"pyproject.toml": f'{text}[tool.uv.sources]\nfoo = {{path = "libs/foo", editable = true}}\n'}
    assert pip_calls(tmp_path, files) == [["-e", ".", "-e", "./libs/foo", "pytest"]]


def test_what_the_project_itself_needs(tmp_path: Path) -> None:
    text = 'dependencies = ["foo"]\n[project.optional-dependencies]\ntest = ["bar"]\n[tool.uv.sources]\n'
    sources = 'foo = {path = "libs/foo"}\nbar = {url = "https://e.org/bar.whl"}\n'
    assert pip_calls(tmp_path, FOO | {"pyproject.toml": BUILT + text + sources}) == [
        ["-e", ".[test]", "./libs/foo", "bar @ https://e.org/bar.whl", "pytest"]
    ]


def test_what_a_requirement_file_names(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": f'{BUILT}[tool.uv.sources]\nfoo = {{path = "libs/foo"}}\n',
        "requirements.txt": "foo>1\n",
    }
    assert pip_calls(tmp_path, FOO | files) == [["-r", "requirements.txt", "-e", ".", "./libs/foo", "pytest"]]


def test_what_a_build_needs_is_installed_before(tmp_path: Path) -> None:
    text = '[build-system]\nrequires = ["foo", "setuptools"]\n[project]\nname = "thing"\n[tool.uv.sources]\n'
    assert pip_calls(tmp_path, FOO | {"pyproject.toml": f'{text}foo = {{path = "libs/foo"}}\n'}) == [
        ["./libs/foo", "setuptools", "wheel", "pytest"],
        ["--no-build-isolation", "--no-deps", "-e", "."],
    ]


def test_a_workspace_of_uv(tmp_path: Path) -> None:
    workspace = "[tool.uv.sources]\nfoo = {workspace = true}\nbar = {workspace = true}\nthing = {workspace = true}\n"
    files = {
        "pyproject.toml": f'{BUILT}dependencies = ["foo"]\n{workspace}[tool.uv.workspace]\n'
        'members = ["libs/*"]\nexclude = ["libs/x*"]\n',
        "libs/foo/pyproject.toml": FOO["libs/foo/pyproject.toml"] + 'dependencies = ["bar", "thing"]\n',
        "libs/bar/pyproject.toml": BUILT.replace("thing", "Bar"),
        "libs/xbar/pyproject.toml": BUILT.replace("thing", "bar"),
        "libs/notes.txt": "",
    }
    assert pip_calls(tmp_path, files) == [["-e", ".", "-e", "./libs/foo", "-e", "./libs/bar", "pytest"]]


def test_what_a_folder_needs_in_its_turn(tmp_path: Path) -> None:
    source = '[tool.uv.sources]\nbar = {path = "../bar"}\n'
    files = {
        "pyproject.toml": f'{GROUP}foo = {{path = "libs/foo"}}\n',
        "libs/foo/pyproject.toml": f'{FOO["libs/foo/pyproject.toml"]}dependencies = ["bar"]\n{source}',
        "libs/bar/setup.py": "",
    }
    assert pip_calls(tmp_path, files) == [["-e", ".", "./libs/foo[x]", "./libs/bar", "pytest"]]


def test_a_folder_that_is_no_package_gives_what_it_needs(tmp_path: Path) -> None:
    files = {"pyproject.toml": f'{GROUP}foo = {{path = "libs/foo"}}\n',
             "libs/foo/pyproject.toml": '[project]\nname = "foo"\ndependencies = ["public"]\n'}  # fmt: skip
    assert pip_calls(tmp_path, files) == [["-e", ".", "public", "pytest"]]


NO_PACKAGE = '[project]\nname = "foo"\ndependencies = ["public"]\n'


@pytest.mark.parametrize(
    "source", ['{path = "libs/foo"}', '{path = "libs/foo", package = false}', "{workspace = true}"]
)
@pytest.mark.parametrize("kind", ["metadata", "requirement file", "folder", "dynamic metadata"])
def test_what_pip_reads_the_name_of_is_given_though_it_is_no_package(tmp_path: Path, kind: str, source: str) -> None:
    sources = (
        f'[tool.uv.sources]\nfoo = {source}\nbar = {{path = "libs/bar"}}\n[tool.uv.workspace]\nmembers = ["libs/*"]\n'
    )
    files = {"libs/foo/pyproject.toml": NO_PACKAGE, "libs/bar/pyproject.toml": BUILT.replace("thing", "bar")}
    match kind:
        case "metadata":
            files["pyproject.toml"] = f'{BUILT}dependencies = ["foo"]\n{sources}'
        case "requirement file":
            files |= {"pyproject.toml": BUILT + sources, "requirements.txt": "foo\n"}
        case "folder":
            files["pyproject.toml"] = f'{BUILT}dependencies = ["bar"]\n{sources}'
            files["libs/bar/pyproject.toml"] += 'dependencies = ["foo"]\n'
        case "dynamic metadata":
            dynamic = 'dynamic = ["optional-dependencies"]\ndependencies = ["foo"]\n'
            files["pyproject.toml"] = BUILT.replace("setuptools", "bar") + dynamic + sources
    words = [word for call in pip_calls(tmp_path, files) for word in call]
    assert "./libs/foo" in words


def test_what_the_root_names_holds_for_the_folders(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": f'{GROUP}foo = {{path = "libs/foo", package = false}}\nbar = {{path = "libs/bar"}}\n',
        "libs/foo/pyproject.toml": FOO["libs/foo/pyproject.toml"] + 'dependencies = ["bar"]\n',
        "libs/bar/setup.py": "",
    }
    assert pip_calls(tmp_path, files) == [["-e", ".", "./libs/bar", "pytest"]]


def test_folders_that_need_each_other(tmp_path: Path) -> None:
    one = 'dependencies = ["{}"]\n[tool.uv.sources]\n{} = {{path = "../{}"}}\n'
    files = {
        "pyproject.toml": f'{GROUP}foo = {{path = "libs/foo"}}\n',
        "libs/foo/pyproject.toml": BUILT.replace("thing", "foo") + one.format(*["bar"] * 3),
        "libs/bar/pyproject.toml": BUILT.replace("thing", "bar") + one.format(*["foo"] * 3),
    }
    assert pip_calls(tmp_path, files) == [["-e", ".", "./libs/foo[x]", "./libs/bar", "./libs/foo", "pytest"]]


@pytest.mark.parametrize(
    "reference", ["thing[a]; python_version > '3'", "Thing[a] ;python_version>'3'", "thing [a] ; python_version > '3'"]
)
@pytest.mark.parametrize("head", ['[project]\nname = "thing"\n', BUILT])
def test_a_reference_to_itself_with_a_marker(tmp_path: Path, head: str, reference: str) -> None:
    extra = """[project.optional-dependencies]\na = ["x>1", "y ; os_name == 'nt'"]\n"""
    text = f'{extra}[dependency-groups]\ntest = ["{reference}"]\n'
    (call,) = pip_calls(tmp_path, {"pyproject.toml": head + text})
    assert call[-3:] == [
        'x>1 ; python_version > "3"',
        'y ; (os_name == "nt") and (python_version > "3")',
        "pytest",
    ]
    assert not any(word.lower().startswith("thing") for word in call)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        (
            "pyproject.toml",
            POETRY + '[tool.poetry.group.test.dependencies]\nfoo = {path = "libs/foo", develop = true}\n',
        ),
        ("pyproject.toml", POETRY + '[tool.poetry.dev-dependencies]\nfoo = {path = "libs/foo"}\n'),
        ("pyproject.toml", BUILT + '[tool.pdm.dev-dependencies]\ntest = ["foo @ file:///${PROJECT_ROOT}/libs/foo"]\n'),
        ("pyproject.toml", BUILT + '[dependency-groups]\ntest = ["foo @ file:///${PROJECT_ROOT}/libs/foo"]\n'),
        ("pyproject.toml", BUILT + '[tool.hatch.envs.test]\ndependencies = ["foo @ {root:uri}/libs/foo"]\n'),
        ("hatch.toml", '[envs.test]\ndependencies = ["foo@{root:uri}/libs/foo"]\n'),
        ("Pipfile", '[dev-packages]\nfoo = {path = "./libs/foo"}\n'),
    ],
)
def test_folders_in_the_words_of_other_tools(tmp_path: Path, name: str, table: str) -> None:
    assert pip_calls(tmp_path, FOO | {"pyproject.toml": BUILT, name: table}) == [["-e", ".", "./libs/foo", "pytest"]]


@pytest.mark.parametrize(
    ("entry", "given"),
    [
        ("-e file:///${PROJECT_ROOT}/libs/foo#egg=foo", ["-e", "./libs/foo"]),
        ("-e ./libs/foo", ["-e", "./libs/foo"]),
        (
            "-e git+https://example.org/q.git@v1#egg=q&subdirectory=s",
            ["q @ git+https://example.org/q.git@v1#subdirectory=s"],
        ),
    ],
)
def test_what_is_editable_for_pdm(tmp_path: Path, entry: str, given: list[str]) -> None:
    files = FOO | {"pyproject.toml": f'{BUILT}[tool.pdm.dev-dependencies]\ntest = ["{entry}"]\n'}
    assert pip_calls(tmp_path, files) == [["-e", ".", *given, "pytest"]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", POETRY + '[tool.poetry.dependencies]\nfoo = {version = "^1", source = "internal"}\n'),
        ("pyproject.toml", POETRY + '[tool.poetry.group.test.dependencies]\nfoo = {source = "internal"}\n'),
        ("pyproject.toml", POETRY + '[tool.poetry.group.test.dependencies]\nfoo = {path = "../foo"}\n'),
        ("pyproject.toml", POETRY + '[tool.poetry.group.test.dependencies]\nfoo = {git = "../foo"}\n'),
        ("Pipfile", '[packages]\nfoo = {version = "*", index = "internal"}\n'),
        ("pyproject.toml", BUILT + '[tool.hatch.envs.test]\ndependencies = ["foo @ {root:parent:uri}/foo"]\n'),
        ("pyproject.toml", BUILT + '[tool.hatch.envs.test]\ndependencies = ["foo @ {root:uri}/../foo"]\n'),
        (
            "pyproject.toml",
            BUILT + '[dependency-groups]\ntest = ["foo-a"]\n[[tool.pdm.source]]\nname = "internal"\n'
            'url = "https://pkgs.example.org/simple"\ninclude_packages = ["foo", "foo-*"]\n',
        ),
        ("pyproject.toml", BUILT + INDEX),
        ("uv.toml", INDEX.replace("tool.uv.", "")),
        ("pyproject.toml", BUILT + INDEX.replace("internal", "pypi") + 'explicit = true\n[dependency-groups]\n'
         'test = ["foo"]\n[tool.uv.sources]\nfoo = {index = "pypi"}\n'),
        ("pyproject.toml", BUILT + '[tool.uv]\nextra-index-url = ["https://pkgs.example.org/simple"]\n'),
        ("pyproject.toml", BUILT + INDEX.replace("example.org", "$HOST") + "default = true\n"),
    ],
)  # fmt: skip
def test_what_only_another_index_or_folder_has_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"{name.replace('.', '[.]')} cannot be used.*ci\.yaml"):
        pip_calls(tmp_path, {"pyproject.toml": BUILT, name: text})


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (BUILT + INDEX + "default = true\n", ["--index-url", "https://pkgs.example.org/simple"]),
        (BUILT + INDEX + "explicit = true\n", []),
        (BUILT + INDEX.replace("pkgs.example", "pypi"), []),
        (BUILT + INDEX.replace("uv.index", "poetry.source"), ["--index-url", "https://pkgs.example.org/simple"]),
        (BUILT + INDEX.replace("uv.index", "poetry.source") + 'priority = "supplemental"\n', []),
        (BUILT + INDEX.replace("uv.index", "pdm.source"), ["--extra-index-url", "https://pkgs.example.org/simple"]),
    ],
)
def test_indexes_for_all_packages(tmp_path: Path, text: str, options: list[str]) -> None:
    assert pip_calls(tmp_path, {"pyproject.toml": text}) == [[*options, "-e", ".", "pytest"]]


def test_a_pipfile_with_an_index_of_its_own(tmp_path: Path) -> None:
    text = '[[source]]\nname = "x"\nurl = "https://pkgs.example.org/simple"\n[packages]\nfoo = "*"\n'
    assert pip_calls(tmp_path, {"Pipfile": text}) == [
        ["--index-url", "https://pkgs.example.org/simple", "foo", "pytest"]
    ]


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("{toxinidir}/libs/foo", ["-e", "./libs/foo"]),
        ("{toxinidir}{/}libs{/}foo", ["-e", "./libs/foo"]),
        ("./libs/foo[x]", ["-e", "./libs/foo[x]"]),
        ("libs/foo", ["-e", "./libs/foo"]),
        ("-e {tox_root}/libs/foo", ["-e", "./libs/foo"]),
        ("-e foo", ["-e", "./foo"]),
        ("{toxinidir}/foo", ["-e", "./foo"]),
        ("./foo-1-py3-none-any.whl", ["./foo-1-py3-none-any.whl"]),
        ("git+https://example.org/bar@main#egg=bar", ["bar @ git+https://example.org/bar@main"]),
    ],
)
def test_paths_in_tox_are_no_names(tmp_path: Path, line: str, given: list[str]) -> None:
    files = {
        "tox.ini": f"[testenv]\ndeps =\n    {line}\n    pytest\n",
        "foo/setup.py": "",
        "foo-1-py3-none-any.whl": "",
    }
    assert pip_calls(tmp_path, FOO | files) == [[*given, "pytest"]]


def test_a_path_in_tox_that_is_not_uploaded(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"tox.ini cannot be used: .*'./../foo', which is not in the upload"):
        pip_calls(tmp_path, {"tox.ini": "[testenv]\ndeps = {toxinidir}/../foo\n"})


def test_sources_of_what_setup_py_requires(tmp_path: Path) -> None:
    pyproject = '[build-system]\nrequires = ["setuptools"]\n[tool.uv.sources]\nfoo = {path = "libs/foo"}\n'
    setup = "from setuptools import setup\nsetup(install_requires=['foo'])\n"
    assert pip_calls(tmp_path, FOO | {"pyproject.toml": pyproject, "setup.py": setup}) == [
        ["-e", ".", "./libs/foo", "pytest"]
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([f"**/m{n}" for n in range(200)], "the workspace has more than 100 patterns as its members"),
        (["*/" * 200 + "*"], "is not a pattern for folders of the workspace"),
    ],
)
def test_patterns_of_members_that_take_long(tmp_path: Path, members: list[str], message: str) -> None:
    text = f"{GROUP}foo = {{workspace = true}}\n[tool.uv.workspace]\nmembers = {members}\n"
    with pytest.raises(InvalidRequest, match=f"pyproject.toml is not valid: .*{message}"):
        pip_calls(tmp_path, {"pyproject.toml": text})


def test_patterns_of_names_take_no_time(tmp_path: Path) -> None:
    source = f'[[tool.pdm.source]]\nname = "x"\nurl = "https://e.org"\ninclude_packages = ["{"a*" * 90}b"]\n'
    text = f'{BUILT}[dependency-groups]\ntest = ["{"a" * 190}"]\n{source}'
    assert pip_calls(tmp_path, {"pyproject.toml": text}) == [["-e", ".", "a" * 190, "pytest"]]


def test_a_project_that_asks_no_index(tmp_path: Path) -> None:
    text = BUILT + '[tool.uv]\nno-index = true\nfind-links = ["wheels", "https://e.org/x/"]\n'
    assert pip_calls(tmp_path, {"pyproject.toml": text}) == [
        ["--find-links", "./wheels", "--find-links", "https://e.org/x/", "--no-index", "-e", ".", "pytest"]
    ]


@pytest.mark.parametrize("place", ["../wheels", "/wheels", "file:///wheels"])
def test_packages_in_a_folder_outside_of_the_upload(tmp_path: Path, place: str) -> None:
    text = f'{BUILT}[tool.uv]\nfind-links = ["{place}"]\n'
    with pytest.raises(InvalidRequest, match=rf"the packages in '{re.escape(place)}' are not in the upload"):
        pip_calls(tmp_path, {"pyproject.toml": text})


NOX = "import nox\n@nox.session\ndef test(session):\n    session.install('secret', {})\n"


@pytest.mark.parametrize(
    ("files", "indexes"),
    [
        ({"noxfile.py": NOX.format("'--index-url', 'https://e.org/x'")}, ["--index-url", "https://e.org/x"]),
        ({"noxfile.py": NOX.format("'-i', 'https://e.org/x'")}, ["--index-url", "https://e.org/x"]),
        ({"noxfile.py": NOX.format("'--extra-index-url=https://e.org'")}, ["--extra-index-url", "https://e.org"]),
        ({"tox.ini": "[testenv]\ndeps = secret\n -i https://e.org\n"}, ["--index-url", "https://e.org"]),
        (
            {"tox.ini": "[testenv]\ndeps = secret\nsetenv =\n  A = b\n  PIP_INDEX_URL = https://e.org\n"},
            ["--index-url", "https://e.org"],
        ),
        (
            {"tox.toml": '[env_run_base]\ndeps = ["secret"]\nset_env = {PIP_EXTRA_INDEX_URL = "https://e.org"}\n'},
            ["--extra-index-url", "https://e.org"],
        ),
    ],
)
def test_indexes_of_tox_and_nox(tmp_path: Path, files: dict[str, str], indexes: list[str]) -> None:
    assert pip_calls(tmp_path, files) == [[*indexes, "secret", "pytest"]]


def test_an_index_that_only_the_machine_knows(tmp_path: Path) -> None:
    text = "[testenv]\ndeps = secret\nsetenv =\n  PIP_INDEX_URL = https://{env:TOKEN}@e.org\n"
    with pytest.raises(InvalidRequest, match=r"tox.ini cannot be used: the address of an index"):
        pip_calls(tmp_path, {"tox.ini": text})
