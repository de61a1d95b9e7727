"""The shell text that takes what was downloaded and keeps it, run by a shell."""

import subprocess
from pathlib import Path

import pytest

from ci_server.detection.downloads import Cache, installing, with_downloads

LOOK = 'ls "$HOME/cache" 2>/dev/null || echo nothing'


class Setups:
    """Setups of one project, each with a home of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.downloads = path / "downloads"
        self.downloads.mkdir()

    def run(self, *texts: str, is_apart: bool = True, is_needed: bool = False, status: int = 0) -> tuple[str, Path]:
        """Run a setup, and return what it wrote and its home."""
        home = self._path / f"home{len(list(self._path.iterdir()))}"
        home.mkdir()
        text = with_downloads(installing([Cache("thing", "$HOME/cache", "THING_CACHE", is_needed)], *texts))
        variables = {"CI_DOWNLOADS": str(self.downloads)} if is_apart else {}
        done = subprocess.run(
            ["/bin/sh", "-euc", text.replace("/ci-downloaded", str(self.downloads))],
            env={"PATH": "/usr/bin:/bin", "HOME": str(home), **variables},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (status, "")
        return done.stdout, home

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.downloads.iterdir())


DOWNLOAD = 'mkdir -p "$THING_CACHE" && echo good >"$THING_CACHE/a"'


@pytest.fixture
def setups(tmp_path: Path) -> Setups:
    return Setups(tmp_path)


def test_the_next_setup_finds_what_one_has_downloaded(setups: Setups) -> None:
    assert setups.run(LOOK, DOWNLOAD)[0] == "nothing\n"
    assert setups.kept() == ["thing.tar"]
    assert setups.run(LOOK, 'cat "$THING_CACHE/a"')[0] == "a\ngood\n"


def test_a_job_finds_it_and_changes_nothing(setups: Setups) -> None:
    setups.run(DOWNLOAD)
    before = (setups.downloads / "thing.tar").read_bytes()
    assert setups.run(LOOK, 'echo bad >"$THING_CACHE/a"', is_apart=False)[0] == "a\n"
    assert (setups.downloads / "thing.tar").read_bytes() == before


@pytest.mark.parametrize("is_needed", [False, True])
def test_a_cache_stays_where_it_is_needed(setups: Setups, is_needed: bool) -> None:
    _, home = setups.run(DOWNLOAD, is_needed=is_needed)
    assert (home / "cache").exists() is is_needed
    assert setups.kept() == ["thing.tar"]


def test_a_setup_that_fails_keeps_nothing(setups: Setups) -> None:
    setups.run(DOWNLOAD, "exit 3", status=3)
    assert setups.kept() == []


def test_what_cannot_be_read_is_downloaded(setups: Setups) -> None:
    (setups.downloads / "thing.tar").write_bytes(b"damaged" * 1000)
    assert setups.run(LOOK, DOWNLOAD)[0] == "nothing\n"
    assert setups.run(LOOK)[0] == "a\n"


def test_what_a_killed_setup_left_goes_after_a_while(setups: Setups) -> None:
    old, new = setups.downloads / "thing.abcdef", setups.downloads / "thing.ABCDEF"
    for draft in (old, new):
        draft.write_text("half")
    subprocess.run(["touch", "-d", "2 hours ago", old], check=True)
    setups.run(DOWNLOAD)
    assert setups.kept() == ["thing.ABCDEF", "thing.tar"]


def test_where_nothing_can_be_written_it_installs_all_the_same(setups: Setups, tmp_path: Path) -> None:
    setups.downloads = tmp_path / "none"
    assert setups.run(DOWNLOAD, "echo done")[0] == "done\n"
