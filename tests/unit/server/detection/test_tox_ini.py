"""What tox's configuration says that tests need."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from tox.run import setup_state

from ci_common.errors import InvalidRequest
from ci_server.detection.declarations.runners import ToxEnvironment, read_tox
from tests.helpers.service import tree

LINES = st.sampled_from(
    ["pytest>=8", "mock ; python_version > '3'", "cov # why", "# not", "{[base]deps}", "{[base]more}", "-r needs.txt",
     "-cneeds.txt", "{env:GONE:one}", "py38: old", "two>1, \\\n <3", "three@https://e.org/x"]
)  # fmt: skip


def test_lines_that_hold_for_all() -> None:
    found = read_tox(
        """
[testenv]
deps =
    # a comment
    pytest>=8  # another
    mock ; python_version < "4"
    coverage[toml]
    py38,py39: old
    {[base]deps}
    {env:EXTRA:}
    git+https://example.org/x
    --no-index
    -r {toxinidir}/requirements/test.txt
    -c{tox_root}/constraints.txt
    -r../outside.txt
    -r/etc/passwd
    -e .[cli, fast]
extras =
    testing
    docs: documentation
dependency_groups = one, two
[testenv:lint]
deps = ruff
""",
        "",
        {},
    )
    assert found == ToxEnvironment(
        requirements=["pytest>=8", 'mock ; python_version < "4"', "coverage[toml]"],
        files=[("-r", "requirements/test.txt"), ("-c", "constraints.txt")],
        extras=["cli", "fast", "testing"],
        groups=["one", "two"],
    )


@pytest.mark.parametrize(
    ("setup_cfg", "table"),
    [
        ("[testenv]\ndeps = mock\n", {}),
        ("", {"legacy_tox_ini": "[testenv]\ndeps = mock"}),
        ("", {"env_run_base": {"deps": ["mock", {"replace": "ref"}], "extras": []}}),
    ],
)
def test_other_places(setup_cfg: str, table: dict[str, Any]) -> None:
    assert read_tox("", setup_cfg, table) == ToxEnvironment(requirements=["mock"])


def test_what_cannot_be_read_counts_as_not_said() -> None:
    assert read_tox("no section", "[testenv", {"env_run_base": 3, "legacy_tox_ini": []}) == ToxEnvironment()


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(LINES, max_size=5), st.lists(LINES, max_size=3))
@example(["{[base]more}", "pytest # why", "py38: old"], ["{env:GONE:one}", "two"])
def test_lines_are_read_as_tox_reads_them(tmp_path: Path, deps: list[str], more: list[str]) -> None:
    inner = [line for line in more if "base" not in line]
    text = "".join(
        [
            *("[testenv]\ndeps =\n", *(f"  {line}\n" for line in deps), "extras = a, b\n"),
            *("[base]\nmore =\n", *(f"  {line}\n" for line in inner), "deps =\n  {[base]more}\n  five\n"),
        ]
    )
    tree(tmp_path, {"tox.ini": text, "needs.txt": ""})
    theirs = setup_state(["c", "--root", str(tmp_path), "-c", str(tmp_path / "tox.ini"), "-e", "py"]).envs["py"].conf
    ours = read_tox(text, "", {})
    lines = {line.replace(" ", "") for line in theirs["deps"].lines() if line}
    assert {line.replace(" ", "") for line in [*ours.requirements, *map("".join, ours.files)]} == lines
    assert set(ours.extras) == theirs["extras"]


def test_a_file_that_is_toml() -> None:
    document = {
        "env_run_base": {
            "deps": [
                {"replace": "ref", "of": ["vars", "deps"], "extend": True},
                {"replace": "ref", "env": "more", "key": "deps"},
                {"replace": "env", "name": "X"},
                "-r {tox_root}/needs.txt",
            ],
            "extras": ["x"],
            "dependency_groups": ["test"],
        },
        "vars": {"deps": ["mock", {"replace": "ref", "of": ["vars", "deps"]}]},
        "env": {"more": {"deps": ["cov"]}},
    }
    expected = ToxEnvironment(["mock", "cov"], [("-r", "needs.txt")], ["x"], ["test"])
    assert read_tox("", "", {}, document) == expected
    assert read_tox("", "", document) == expected
    assert read_tox("[testenv]\n", "", document) == ToxEnvironment()


def test_references_that_double_each_time() -> None:
    sections = "".join(f"[s{n}]\nx = {{[s{n + 1}]x}}{{[s{n + 1}]x}}\n" for n in range(30))
    with pytest.raises(InvalidRequest, match=r"tox\.ini is not valid: .*characters"):
        read_tox(f"[testenv]\ndeps = {{[s0]x}}\n{sections}[s30]\nx = {'y' * 100}", "", {})
