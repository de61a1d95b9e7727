"""What tox's configuration says that tests need."""

from typing import Any

import pytest

from ci_server.recognition.tox_ini import ToxEnvironment, read_tox


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
