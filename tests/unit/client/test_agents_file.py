"""The section of AGENTS.md that `ci init --agent` writes."""

import json
from pathlib import Path

import pytest

from ci_cli.agents.snippet import with_section
from ci_cli.main import run_cli


@pytest.mark.parametrize("text", ["", "# Rules\n\nUse tabs.\n", "no line end"])
def test_the_section_is_written_once_and_all_else_stays(text: str) -> None:
    once = with_section(text)
    assert once.startswith(text.rstrip())
    assert once.count("ci run --agent --budget 100s") == 2
    assert with_section(once) == once
    assert with_section(once + "\nafter\n") == once + "\nafter\n"


def test_an_older_section_is_replaced_in_its_place() -> None:
    new = with_section("before\n")
    begin, end = new.splitlines()[2], new.splitlines()[-1]
    assert with_section(f"before\n\n{begin}\nold\n{end}\n\nafter\n") == new + "\nafter\n"


def test_half_a_section_is_refused_and_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "AGENTS.md"
    file.write_text("<!-- ci: end -->\n")
    assert run_cli(["init", "--agent", str(tmp_path)]) == 64
    assert "does not have exactly one pair" in capsys.readouterr().err
    assert file.read_text() == "<!-- ci: end -->\n"


def test_the_command_writes_the_section_and_shows_the_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["init", "--agent", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"mcpServers": {"ci": {"command": "ci", "args": ["mcp"]}}}
    assert "ci run --agent" in (tmp_path / "AGENTS.md").read_text()
    assert not (tmp_path / "ci.yaml").exists()
    assert run_cli(["init", "--agent", str(tmp_path)]) == 0
    assert "already had" in capsys.readouterr().err
