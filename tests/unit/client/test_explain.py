"""`ci run --explain`: what would be sent, and which rules leave out the rest."""

import json
from pathlib import Path

import pytest

from ci_cli.main import run_cli
from ci_client.packing.explain import explain
from ci_client.packing.memory import Memory
from ci_client.packing.scan import scan_directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for folder in ("src", "build", ".git/info", "env", "src/__pycache__"):
        (root / folder).mkdir(parents=True)
    (root / ".gitignore").write_text("# made\n/build/\n*.o\n")
    (root / ".git" / "info" / "exclude").write_text("secret\n")
    (root / "src" / ".ciignore").write_text("\n!kept.o\n*.txt\n")
    (root / "env" / "pyvenv.cfg").touch()
    for name, size in (("src/a.py", 30), ("src/kept.o", 200), ("b.o", 1), ("secret", 1), ("src/x.txt", 1)):
        (root / name).write_text("x" * size)
    (root / "link").symlink_to("src")
    return root


def test_every_file_is_explained(tree: Path) -> None:
    explanation = explain(tree)
    assert [entry.path for entry in explanation.files][:2] == ["src/kept.o", "src/a.py"]
    assert {each.path: (each.file, each.line, each.pattern) for each in explanation.left_out} == {
        ".git/": (None, None, None),
        "b.o": (".gitignore", 3, "*.o"),
        "build/": (".gitignore", 2, "/build/"),
        "env/": ("pyvenv.cfg", None, None),
        "secret": (".git/info/exclude", 1, "secret"),
        "src/__pycache__/": (None, None, None),
        "src/x.txt": ("src/.ciignore", 3, "*.txt"),
    }
    assert explanation.changed is None


def test_what_has_changed_since_the_last_upload(tree: Path) -> None:
    project = scan_directory(tree)
    Memory.of(tree).remember_base("http://a ", "job", project.manifest)
    assert explain(tree).changed == frozenset()
    (tree / "src" / "a.py").write_text("y" * 31)
    explanation = explain(tree)
    assert explanation.changed == {"src/a.py"}
    assert explanation.changed_bytes == 31


def test_the_command(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", "--explain", str(tree), "--server", "http://127.0.0.1:1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["200", "bytes", "src/kept.o"]
    assert "5 files, 264 bytes" in lines
    assert "  b.o  .gitignore:3: *.o" in lines
    assert "  env/  a virtual environment" in lines
    assert "  .git/  always" in lines
    assert run_cli(["run", "--explain", str(tree), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total_bytes"] == 264
    assert document["files"][0] == {"path": "src/kept.o", "bytes": 200, "link": False, "changed": True}
    assert {"path": "b.o", "file": ".gitignore", "line": 3, "pattern": "*.o"} in document["left_out"]


def test_a_zip_file_has_nothing_to_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    assert run_cli(["run", "--explain", str(tmp_path / "a.zip")]) == 64
    assert "directories" in capsys.readouterr().err
