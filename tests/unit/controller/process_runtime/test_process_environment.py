"""What a job of the process runtime finds around it."""

import os
import sys
import zipfile
from pathlib import Path

import pytest

from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_controller.runtime.process import python_environment
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_controller.runtime.process.surroundings import environment_setup, job_environment
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.helpers.scripts import plan_of

HOST = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/me",
    "LANG": "de_DE.UTF-8",
    "LC_ALL": "C",
    "TZ": "Europe/Berlin",
    "PIP_INDEX_URL": "https://index.example/simple",
    "UV_INDEX_URL": "https://index.example/simple",
    "SSL_CERT_FILE": "/etc/authority.pem",
    "https_proxy": "http://proxy.example:3128",
    "CI_API_KEY": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "PYTHONPATH": "/home/me/lib",
    "VIRTUAL_ENV": "/home/me/venv",
    "PIP_TARGET": "/home/me/lib",
    "LC_not": "x",
    "BASH_FUNC_x%%": "() { :; }",
}
FIXED = {
    "CI": "true",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PYTHONUNBUFFERED": "1",
}


def test_little_of_the_controllers_environment_is_passed_on() -> None:
    names = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "PIP_INDEX_URL", "UV_INDEX_URL", "SSL_CERT_FILE"]
    given = job_environment(HOST, ca_bundle="auto", pass_env=())
    assert given == {**{name: HOST[name] for name in names}, **FIXED}


def test_what_the_setting_names_is_passed_on_but_never_our_own() -> None:
    names = ["https_proxy", "AWS_SECRET_ACCESS_KEY", "CI_API_KEY", "BASH_FUNC_x%%", "", "NOT_THERE", "VIRTUAL_ENV"]
    given = job_environment(HOST, ca_bundle="auto", pass_env=names)
    assert given.keys() - job_environment(HOST, ca_bundle="auto", pass_env=()).keys() == {
        "https_proxy",
        "AWS_SECRET_ACCESS_KEY",
        "VIRTUAL_ENV",
    }


def test_certificates_follow_the_setting() -> None:
    assert "SSL_CERT_FILE" not in job_environment(HOST, ca_bundle="none", pass_env=())
    named = job_environment(HOST, ca_bundle="/etc/other.pem", pass_env=())
    assert {named[name] for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")} == {"/etc/other.pem"}


def test_a_path_is_always_given() -> None:
    assert "/usr/bin" in job_environment({}, ca_bundle="auto", pass_env=())["PATH"].split(":")


def test_the_controllers_own_virtual_environment_is_not_in_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "venv")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    path = f"{tmp_path}/link/bin:/usr/bin:{tmp_path}/venv/bin"
    assert job_environment({"PATH": path}, ca_bundle="auto", pass_env=())["PATH"] == "/usr/bin"


def test_only_a_plan_that_asks_for_it_gets_a_python_environment(tmp_path: Path) -> None:
    run, plan = RunDirectory(tmp_path / "1"), plan_of(env={"PATH": "/own"})
    assert environment_setup(run.environment, plan, {"PATH": "/bin"}) is None
    setup = environment_setup(run.environment, plan.model_copy(update={"python_environment": True}), {"PATH": "/bin"})
    assert setup is not None
    assert setup.program[1:] == ("-I", python_environment.__file__, f"{tmp_path}/1/env")
    given = dict(setup.environment)
    assert Path(given.pop("CI_UV")).name == "uv"
    place = f"{tmp_path}/1/env"
    assert given == {"CI_ENV": place, "VIRTUAL_ENV": place, "PATH": f"{place}/bin:/own", "UV_LINK_MODE": "copy"}


async def test_steps_use_the_jobs_own_python_environment(trial: MakeTrial) -> None:
    one = trial("python -c 'import sys; print(sys.prefix)'; echo $VIRTUAL_ENV; pip --version", python_environment=True)
    assert (await one.execute()).exit_code == 0
    venv = one.run.environment
    prefix, variable, version = one.run.log.read_text().splitlines()
    assert prefix == variable == str(venv)
    assert f" from {venv}/lib/" in version


def test_a_python_without_wheels_to_unpack_installs_pip_as_venv_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[bool] = []
    monkeypatch.setattr("venv.EnvBuilder.create", lambda builder, path: made.append(builder.with_pip))
    monkeypatch.setattr("ensurepip.__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr("ensurepip._WHEEL_PKG_DIR", None)
    python_environment.make_environment(tmp_path / "venv")
    assert made == [True]
    (tmp_path / "_bundled").mkdir()
    for project in ("pip", "setuptools"):
        with zipfile.ZipFile(tmp_path / "_bundled" / f"{project}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{project}-1.data/scripts/x", "")
    assert python_environment.bundled_wheels() == []


async def test_a_python_environment_that_cannot_be_made_ends_the_job(trial: MakeTrial) -> None:
    one = trial("echo never", python_environment=True)
    (one.run.environment).write_text("in the way")
    assert (await one.execute()).exit_code == 1
    assert b"never" not in one.run.log.read_bytes()
    assert b"/env" in one.run.log.read_bytes()
    record = one.run.read_exit()
    assert record is not None
    assert record.code == 1


async def test_nothing_is_installed_outside_of_a_python_environment(trial: MakeTrial) -> None:
    base = getattr(sys, "_base_executable", sys.executable)
    one = trial(f"{base} -m pip install --no-index nothing-of-this-name")
    assert (await one.execute()).exit_code == 3
    assert b"virtualenv" in one.run.log.read_bytes()


def test_a_relative_data_directory_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    runtime = ProcessRuntime(Settings(), DataDirectory(Path("data")))
    plan = ExecutionPlan(image="none", steps=(), timeout=1, python_environment=True)
    around = runtime.describe(plan, RunDirectory(Path("data/jobs/x/1")))
    assert around.base == tmp_path / "data/jobs/x/1"
    setup = around.setup
    assert setup is not None
    assert os.path.isabs(setup.environment["VIRTUAL_ENV"])
