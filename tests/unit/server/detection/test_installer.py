"""The shell text that installs, run by a shell with programs that only say how they were called."""

import subprocess
from pathlib import Path

import pytest

from ci_common.settings import Settings
from ci_common.spec import Spec
from ci_server.detection.projects import resolve
from ci_server.detection.python.installer import ALONE, Installer, preamble
from tests.helpers.service import tree

UV = """#!/bin/sh
[ "$1" = --version ] && { echo uv 1; exit; }
echo "uv cache=${UV_CACHE_DIR-} links=${UV_LINK_MODE-}"
[ -z "${UV_LINK_MODE-}" ] || { cp -R "$UV_CACHE_DIR" "$HOME/seen"; exit "${FAILS:-0}"; }
"""
PYTHON = '#!/bin/sh\necho "pip cache=${PIP_CACHE_DIR-}"\n'
DOWNLOADED = {
    "uv/archive-v0/abc/thing/__init__.py": "good",
    "uv/wheels-v8/pypi/thing/1.http": "abc",
    "uv/builds-v0/left": "",
    "pip/http-v2/a/b": "good",
}


class Job:
    """A job's view of the machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = path / "home"
        self.memory = path / "memory"
        self.memory.mkdir(parents=True)
        tree(path, {"bin/uv": UV, "bin/python": PYTHON, "home/x": ""})
        for program in ("uv", "python"):
            (path / "bin" / program).chmod(0o755)

    def install(
        self, installer: Installer = "auto", needs_pip: str = "", *, alone: bool = False, **variables: str
    ) -> str:
        """Return what is said while something is installed."""
        text = preamble(installer, needs_pip, alone=alone).replace("/ci-downloaded", str(self.path / "downloaded"))
        text = text.replace("/dev/shm", str(self.memory))
        text = text.replace("/etc/pip.conf", "/none").replace("/etc/xdg/pip/pip.conf", "/none")  # Of this machine.
        given = {"CI_UV": str(self.path / "bin" / "uv"), "HOME": str(self.home), **variables}
        search = f"{self.path / 'bin'}:/usr/bin:/bin"
        done = subprocess.run(
            ["/bin/sh", "-ec", f"{text}{ALONE if alone else 'ci_install'} thing"],
            env={"PATH": search, **given},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()[-1]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_without_downloads_nothing_is_changed(job: Job) -> None:
    assert job.install() == "uv cache= links="
    assert job.install("pip") == "pip cache="


def test_uv_gets_a_cache_of_links_to_what_was_downloaded(job: Job) -> None:
    tree(job.path / "downloaded", DOWNLOADED)
    assert job.install() == f"uv cache={job.memory / '.ci-uv'} links=copy"
    seen = job.home / "seen"
    assert (seen / "archive-v0" / "abc" / "thing" / "__init__.py").is_symlink()
    assert not (seen / "archive-v0" / "abc").is_symlink()
    assert not (seen / "wheels-v8" / "pypi" / "thing" / "1.http").is_symlink()
    assert not (seen / "builds-v0").exists()
    assert list(job.memory.iterdir()) == [], "the tests have that memory"


def test_where_the_links_do_not_help_it_downloads(job: Job) -> None:
    """As where a new download is larger than the memory for the links."""
    tree(job.path / "downloaded", DOWNLOADED)
    assert job.install(FAILS="2") == "uv cache= links="
    assert list(job.memory.iterdir()) == []


def test_pip_gets_one_too(job: Job) -> None:
    tree(job.path / "downloaded", DOWNLOADED)
    own = job.home / ".ci-pip"
    assert job.install("auto", "it has options") == f"pip cache={own}"
    assert (own / "http-v2" / "a" / "b").is_symlink()


def test_a_cache_that_the_image_names_is_used(job: Job) -> None:
    tree(job.path / "downloaded", DOWNLOADED)
    assert job.install(UV_CACHE_DIR="/own") == "uv cache=/own links="
    assert job.install("pip", PIP_CACHE_DIR="/own") == "pip cache=/own"


def test_where_no_links_can_be_made_it_downloads(job: Job) -> None:
    tree(job.path / "downloaded", DOWNLOADED)
    job.memory.rmdir()
    job.memory.write_text("no directory")
    assert job.install() == "uv cache= links="
    assert job.install("pip", HOME=str(job.home / "x")) == "pip cache="


@pytest.mark.parametrize(("installer", "takes"), [("auto", "pip"), ("uv", "uv"), ("pip", "pip")])
def test_a_file_with_options_is_read_by_uv_only_where_that_is_asked_for(
    job: Job, tmp_path: Path, installer: Installer, takes: str
) -> None:
    project = tree(tmp_path / "project", {"requirements.txt": "--prefer-binary\nrequests\n", "test_a.py": ""})
    plan = resolve(project, Spec(), Settings(installer=installer)).plan
    shell = plan.steps[0].shell
    assert shell is not None
    assert ('ci_uv="${CI_UV:-/ci-tools/uv}"' in shell) == (takes == "uv")


INDEX = "[global]\nindex-url = https://example.org/simple\n\n# why\n[install]\nfind-links =\n    /wheels\n    /more\n"
"""A configuration of pip that only says where to download from."""


@pytest.mark.parametrize(
    "variables", [{}, {"PIP_INDEX_URL": "https://example.org"}, {"PIP_FIND_LINKS": "/wheels", "PIP_NO_INDEX": "1"}]
)
@pytest.mark.parametrize("configuration", [None, INDEX, "[global]\ntimeout: 60\nconstraint=x.txt"])
@pytest.mark.parametrize("needs_pip", ["", "the project names package indexes"])
def test_where_to_download_from_does_not_matter_where_nothing_is_downloaded(
    job: Job, variables: dict[str, str], configuration: str | None, needs_pip: str
) -> None:
    if configuration is not None:
        tree(job.home, {".config/pip/pip.conf": configuration})
    assert job.install(needs_pip=needs_pip, alone=True, **variables).startswith("uv ")
    takes_uv = not (variables or configuration or needs_pip)
    assert job.install(needs_pip=needs_pip, **variables).startswith("uv " if takes_uv else "pip ")


@pytest.mark.parametrize(
    "variable", ["PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_GLOBAL_OPTION", "PIP_REQUIRE_HASHES"]
)
def test_variables_that_say_what_is_installed_where_are_left_to_pip(job: Job, variable: str) -> None:
    assert job.install(alone=True, **{variable: "1"}).startswith("pip ")


@pytest.mark.parametrize(
    "configuration",
    [
        "[install]\ntarget = /else\n",
        "[global]\nindex-url = https://example.org\n[install]\nuser = yes\n",
        "[install]\n  requirement = x.txt\n",
        "[install]\n  user:yes\n",
        "[global]\nsome-new-option = 1",
    ],
)
@pytest.mark.parametrize("place", [".config/pip/pip.conf", ".pip/pip.conf", "named.conf"])
def test_a_configuration_that_may_say_more_is_left_to_pip(job: Job, configuration: str, place: str) -> None:
    tree(job.home, {place: configuration})
    named = {"PIP_CONFIG_FILE": str(job.home / place)} if place == "named.conf" else {}
    assert job.install(alone=True, **named).startswith("pip ")


def test_a_configuration_that_cannot_be_read_is_left_to_pip(job: Job) -> None:
    tree(job.home, {".config/pip/pip.conf": INDEX})
    tree(job.path, {"bin/grep": "#!/bin/sh\nexit 2\n"})
    (job.path / "bin" / "grep").chmod(0o755)
    assert job.install(alone=True).startswith("pip ")


def test_the_one_that_was_asked_for_is_taken(job: Job) -> None:
    assert job.install("pip", alone=True).startswith("pip ")
    assert job.install("uv", alone=True, needs_pip="it has options").startswith("uv ")
