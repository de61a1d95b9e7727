"""What the job gets, what it writes, and how that is deleted."""

import hashlib
import os
from pathlib import Path

import pytest

from ci_common.run_directory.layout import RunDirectory
from ci_common.run_directory.untrusted_files import read_capped
from ci_common.spec import ExecutionPlan
from ci_controller.runtime.protocol import Runtime
from tests.contracts.runtime_suite.bench import MakeTrial, RuntimeBench


class Jobs(RuntimeBench):
    """The job gets what its plan says, and its log is what it wrote."""

    async def test_the_environment_is_the_runtimes_and_the_plans(
        self, trial: MakeTrial, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CI_API_KEY", "secret")
        monkeypatch.setenv("SOMETHING_OF_THE_CONTROLLERS", "secret")
        own = {"PLAIN": "1", "PATH": "/usr/local/bin:/usr/bin:/bin:/own", "ODD": "a'b\"c\\ $HOME `x`\n\té", "EMPTY": ""}
        own_plan = ExecutionPlan(image=self.image, steps=(), timeout=60)
        given = runtime.describe(own_plan, RunDirectory(Path("anywhere"))).environment
        names = [*{**given, **own}]
        one = trial("; ".join(f"printf '%s\\0' \"${name}\"" for name in names), "env >names", env=own)
        assert (await one.execute()).exit_code == 0
        values = dict(zip(names, one.run.log.read_bytes().split(b"\0"), strict=False))
        expected = {**given, **own}
        assert values == {name: os.fsencode(value) for name, value in expected.items()}
        assert b"secret" not in (one.workspace / "names").read_bytes()

    async def test_a_job_begins_in_its_workspace_with_an_empty_input(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial('pwd; cat; [ "$#" = 0 ] && cat there', directory="sub dir")
        (one.workspace / "sub dir").mkdir()
        (one.workspace / "sub dir" / "there").write_text("yes\n")
        assert (await one.execute()).exit_code == 0
        base = runtime.describe(one.spec.plan, one.run).base
        assert one.run.log.read_text() == f"{base}/workspace/sub dir\nyes\n"

    async def test_a_step_that_exceeds_its_timeout_cleans_up(self, trial: MakeTrial) -> None:
        text = "exec 2>/dev/null; trap 'echo told; exit 9' TERM; echo up; while :; do sleep 0.02; done"
        steps = [
            {"name": "hang", "shell": text, "timeout": 1},
            {"name": "clean", "shell": "echo clean", "condition": "always"},
        ]
        one = trial(steps=steps)
        assert (await one.execute()).exit_code == 124
        assert one.run.log.read_bytes() == b"up\ntold\nclean\n"

    async def test_a_job_inherits_no_descriptors(self, trial: MakeTrial) -> None:
        if not Path("/proc/self/fd").exists():
            pytest.skip("needs /proc")
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        try:
            one = trial("for d in /proc/self/fd/*; do echo ${d##*/}; done >descriptors")
            await one.execute()
        finally:
            os.close(reading)
            os.close(writing)
        assert {int(d) for d in (one.workspace / "descriptors").read_text().split()} & set(range(3, 1000)) <= {3, 10}

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (r"printf 'caf\351 \377\376\n'", b"caf\xe9 \xff\xfe\n"),
            (r"printf 'a\000b\000\n'", b"a\0b\0\n"),
            ("printf 'no newline at the end'", b"no newline at the end"),
            (r"printf 'one\r\n\033[1mtwo\033[0m\r\n'", b"one\r\n\x1b[1mtwo\x1b[0m\r\n"),
            ("head -c 70000 /dev/zero | tr '\\0' x; echo", b"x" * 70_000 + b"\n"),
            ("for i in $(seq 500); do echo $i; echo $i >&2; done", b"".join(b"%d\n" % i * 2 for i in range(1, 501))),
        ],
        ids=["latin-1", "nul", "no newline", "terminal", "long line", "order"],
    )
    async def test_the_log_is_what_the_job_wrote(self, trial: MakeTrial, text: str, expected: bytes) -> None:
        one = trial(text)
        assert (await one.execute()).exit_code == 0
        assert one.run.log.read_bytes() == expected

    async def test_fast_output_is_complete(self, trial: MakeTrial) -> None:
        one = trial("seq -f 'line number %.0f' 1000000 2>/dev/null || seq 2500000")
        assert (await one.execute()).exit_code == 0
        written = one.run.log.read_bytes()
        texts = [b"".join(b"line number %d\n" % i for i in range(1, 1_000_001)), None]
        if not written.startswith(b"line"):
            texts[0] = b"".join(b"%d\n" % i for i in range(1, 2_500_001))
        assert texts[0] is not None
        assert len(written) > 15_000_000
        assert hashlib.sha256(written).digest() == hashlib.sha256(texts[0]).digest()

    async def test_the_log_is_complete_once_the_workload_has_exited(self, trial: MakeTrial) -> None:
        one = trial("seq 200000 & wait")
        await one.execute()
        assert (read_capped(one.run.log, 10_000_000) or b"").endswith(b"200000\n")

    async def test_what_a_job_wrote_can_be_deleted(self, trial: MakeTrial, runtime: Runtime) -> None:
        one = trial(
            "mkdir -p locked/inner; : >locked/inner/file; ln -s / root; ln -s nowhere dangling; mkfifo pipe; "
            'chmod 0 locked/inner/file; chmod 0500 locked/inner locked; i=0; while [ "$i" -lt 40 ]; do '
            'd=a-directory-with-quite-a-long-name-which-repeats-and-repeats; mkdir "$d" && cd "$d"; i=$((i+1)); done'
        )
        assert (await one.execute()).exit_code == 0
        await runtime.remove(one.key)
        await runtime.delete_tree(one.run.path)
        assert not os.path.lexists(one.run.path)
        await runtime.delete_tree(one.run.path)
