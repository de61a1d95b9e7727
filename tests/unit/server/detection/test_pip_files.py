"""Requirement files: what they install, against pip's own reading, and what is handed to pip beside them."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from pip._internal.network.session import PipSession
from pip._internal.req.req_file import parse_requirements, preprocess

from ci_common.errors import InvalidRequest
from ci_server.detection.declarations.pip_files import logical_lines, read_pip_file
from ci_server.detection.reading.project_files import ProjectFiles
from tests.helpers.service import tree
from tests.helpers.untrusted import BUILT, pip_calls

pytestmark = pytest.mark.filterwarnings("ignore:pkg_resources:DeprecationWarning")

PATHS = ("requirements.txt", "a.txt", "inner/b.txt", "inner/c.txt")
HASH = "--hash=sha256:" + "0" * 64
LINES = st.one_of(
    st.sampled_from(
        ["", "# note", "  ", "--no-index", "-i https://e.org/simple", "--pre", "-e .", ".", "--require-hashes"]
    ),
    st.sampled_from(
        ["one", "two==1", "Three_x[y]>2", "four ; python_version > '3'", "five # why", "six @ https://e.org/s"]
    ),
    st.sampled_from(
        [f"seven==1 {HASH}", f"eight==1 \\\n    {HASH} \\\n    {HASH}", "nine \\\n  >1", "ten \\", "#\\", "a\\b"]
    ),
    st.builds(
        "{}{}".format,
        st.sampled_from(["-r ", "-r", "--requirement ", "--requirement=", "-c ", "--constraint="]),
        st.sampled_from(PATHS),
    ),
)
FILES = st.dictionaries(st.sampled_from(PATHS), st.lists(LINES, max_size=6).map("\n".join), min_size=1)


@pytest.fixture(scope="module")
def pip_session() -> PipSession:
    return PipSession()


@settings(max_examples=100, deadline=None)
@given(st.text("ab#\\ \n-", max_size=40))
def test_lines_are_pips(text: str) -> None:
    assert list(logical_lines(text)) == [line for _, line in preprocess(text) if line.strip()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES)
def test_what_files_install_is_what_pip_reads(
    tmp_path_factory: pytest.TempPathFactory, pip_session: PipSession, texts: dict[str, str]
) -> None:
    folder = tree(tmp_path_factory.mktemp("files"), dict.fromkeys(PATHS, "") | without_circles(texts))
    found = read_pip_file(ProjectFiles(folder), "requirements.txt")
    parsed = list(parse_requirements(str(folder / "requirements.txt"), pip_session))
    installed = [entry for entry in parsed if not entry.constraint]
    names = {entry.requirement for entry in installed if not entry.is_editable and entry.requirement != "."}
    assert {Requirement(name).name.lower().replace("_", "-") for name in names if is_one(name)} == {
        *found.asked, *(name for name in ("six",) if name in found.named),
    }  # fmt: skip
    has_hashes = any((entry.options or {}).get("hashes") for entry in parsed)
    text = "".join((folder / path).read_text() for path in PATHS)
    assert found.has_hashes == has_hashes or "--require-hashes" in text
    own = [
        "-e" if entry.is_editable else ""
        for entry in installed
        if os.path.normpath(entry.requirement) == "." or entry.requirement.rstrip("/").endswith(str(Path.cwd()))
    ]
    assert (found.itself is None) == (own == [])


def is_one(name: str) -> bool:
    try:
        return bool(Requirement(name))
    except ValueError:
        return False


def without_circles(texts: dict[str, str]) -> dict[str, str]:
    """Return the files without the lines that would include a file before or at their own place in PATHS."""
    kept = {}
    for path, text in texts.items():
        later = PATHS[PATHS.index(path) + 1 :]
        lines = [
            line.replace("inner/", "") if path.startswith("inner/") else line
            for line in text.split("\n")
            if not line.lstrip("-").startswith(("r", "c")) or "require-hashes" in line or line.endswith(later)
        ]
        # Versions of pip differ in what `-e` means behind a requirement.
        kept[path] = "\n".join(lines).replace("ten \\\n-", "ten\n-")
    return kept


@pytest.mark.parametrize(
    ("line", "given"),
    [
        *((line, [".[test]"]) for line in (".", "./", ".[x]", ".[x] ; python_version > '3'", "file:.", '"."', "././")),
        *((line, ["-e", ".[test]"]) for line in ("-e .", "-e ./", "-e .[x]", "--editable .", "--editable=./", "-e.")),
        *((f"-r inner/{name}.txt", ["-e", ".[test]"]) for name in "ab"),
        *((line, ["-e", ".[test]", "pytest"]) for line in ("-e ./other", "../", "./.hidden", "# -e .", "")),
    ],
)
def test_a_file_that_installs_the_project_too(tmp_path: Path, line: str, given: list[str]) -> None:
    files = {
        "pyproject.toml": BUILT + '[project.optional-dependencies]\ntest = ["x"]\n',
        "requirements.txt": f"{line}\npytest\n" if given[-1] != "pytest" else line,
        "inner/a.txt": "-r b.txt",
        "inner/b.txt": "-e .",
    }
    assert pip_calls(tmp_path, files) == [["-r", "requirements.txt", *given]]
    files["pyproject.toml"] = BUILT
    plain = (
        [word for word in given if "." not in word and word != "-e"] if given[-1] != "pytest" else ["-e", ".", "pytest"]
    )
    assert pip_calls(tmp_path, files) == [["-r", "requirements.txt", *plain]]


@pytest.mark.parametrize(
    ("group", "file", "given"),
    [
        ("mock", "mock", []),
        ("mock>=4", "mock==3", []),
        ("Mock_x", "mock-X>1", []),
        ("mock==4", "mock", ["mock==4"]),
        ("mock", "mock ; python_version < '3'", ["mock"]),
        ("mock[x]", "mock", ["mock[x]"]),
        ("mock", "-e git+https://e.org/mock#egg=mock", []),
        ("mock", "mock @ https://e.org/mock.whl", []),
        ("mock", "-r inner/a.txt", []),
        ("mock", "-c inner/a.txt", ["mock"]),
    ],
)
def test_what_a_file_installs_is_not_named_again(tmp_path: Path, group: str, file: str, given: list[str]) -> None:
    files = {"pyproject.toml": f'[dependency-groups]\ntest = ["{group}"]\n', "requirements.txt": f"{file}\npytest==7\n"}
    assert pip_calls(tmp_path, files | {"inner/a.txt": "mock==1"}) == [["-r", "requirements.txt", *given]]


@pytest.mark.parametrize("deep", [f"a==1 {HASH}", f"a==1 \\\n {HASH}", "--require-hashes", "-r c.txt", "-c c.txt"])
def test_hashes_behind_an_include(tmp_path: Path, deep: str) -> None:
    files = {
        "pyproject.toml": BUILT,
        "requirements.txt": "-r inner/a.txt",
        "inner/a.txt": deep,
        "inner/c.txt": f"b==1 {HASH}",
    }
    assert pip_calls(tmp_path, files) == [["-r", "requirements.txt"], ["-e", ".", "pytest"]]


@pytest.mark.parametrize(
    ("constraints", "given"),
    [("pytest==7.1", ["-c", "c.txt", "-e", ".", "pytest==7.1"]), (f"pytest==7.1 {HASH}", ["-e", ".", "pytest==7.1"])],
)
def test_what_constrains_a_file_with_hashes_holds_for_pytest(
    tmp_path: Path, constraints: str, given: list[str]
) -> None:
    files = {"pyproject.toml": BUILT, "requirements.txt": f"-c c.txt\na==1 {HASH}", "c.txt": constraints}
    assert pip_calls(tmp_path, files) == [["-r", "requirements.txt"], given]


def test_constraints_with_hashes_hold_for_files_only(tmp_path: Path) -> None:
    tox = "[testenv]\ndeps =\n  -r needs.txt\n  -c c.txt\n"
    files = {"pyproject.toml": BUILT, "tox.ini": tox, "needs.txt": "a", "c.txt": f"a==1 {HASH}"}
    assert pip_calls(tmp_path, files) == [["-r", "needs.txt", "-c", "c.txt"], ["-e", ".", "pytest"]]


def test_files_that_include_each_other(tmp_path: Path) -> None:
    assert pip_calls(tmp_path, {"requirements.txt": "-r a.txt", "a.txt": "-r requirements.txt\npytest"}) == [
        ["-r", "requirements.txt"]
    ]


@pytest.mark.parametrize("files", [{f"f{n}.txt": f"-r f{n + 1}.txt" for n in range(300)}, {"f0.txt": "a\n" * 30_000}])
def test_what_is_too_much(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=r"requirements\.txt is not valid: .*more than"):
        pip_calls(tmp_path, {"requirements.txt": "-r f0.txt", **files})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_files_in_the_encodings_that_pip_takes(tmp_path: Path, encoding: str) -> None:
    tree(tmp_path, {"setup.py": "", "requirements.txt": "a==1 --hash=sha256:00\n-e .\n".encode(encoding)})
    found = read_pip_file(ProjectFiles(tmp_path), "requirements.txt")
    assert found.has_hashes
    assert found.itself == "-e"


def test_a_file_that_installs_the_project_by_an_address_with_a_name(tmp_path: Path) -> None:
    tree(tmp_path, {"requirements.txt": "-e file:.#egg=thing\n"})
    assert read_pip_file(ProjectFiles(tmp_path), "requirements.txt").itself == "-e"
