"""Which process is meant."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ci_common.system.processes import ProcessIdentity, identity_of, start_time_of, this_process


def test_this_process_is_alive_and_survives_its_text_form() -> None:
    this = this_process()
    assert this.pid == os.getpid()
    assert this.is_here()
    assert this.is_alive()
    assert ProcessIdentity.from_json(this.to_json()) == this


def test_a_pid_alone_is_not_enough() -> None:
    this = this_process()
    assert not replace(this, start=this.start + "0").is_alive()
    elsewhere = replace(this, scope="another machine")
    assert not elsewhere.is_here()
    assert not elsewhere.is_alive()


@pytest.mark.parametrize("name", ["plain", "with space) S 1 (2"])
def test_a_child_lives_until_it_ends_also_as_a_zombie(name: str) -> None:
    code = "import sys; open('/proc/self/comm', 'w').write(sys.argv[1]); print(flush=True); sys.stdin.read()"
    if sys.platform != "linux":
        code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, name], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        identity = identity_of(child.pid)
        assert identity is not None
        assert identity.is_alive()
        assert identity != this_process()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not identity.is_alive()
    assert start_time_of(child.pid) is None
    assert identity_of(child.pid) is None


@pytest.mark.parametrize("text", ["", "5", "[]", "{}", '{"pid": "x", "start": "", "scope": ""}', '{"pid": null}', "{"])
def test_refuses_other_text(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ProcessIdentity.from_json(text)
