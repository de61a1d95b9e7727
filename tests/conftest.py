"""The engine and the images for all tests, and what happens to tests that need what is not there.

`make test` sees to it that there is an engine. With CI set, its absence fails the run, as a test that is skipped fails;
otherwise the tests that need one are left out, and the summary says so.
"""

import os
import signal
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.contracts", "tests.helpers")

from ci_common.run_directory.attributes import allow_changes_to_logs  # noqa: E402
from tests.engine import images  # noqa: E402
from tests.engine.api import EngineAPI, find_engine, require_engine  # noqa: E402
from tests.engine.leftovers import remove_containers_of  # noqa: E402
from tests.helpers.machine import Left, kill, mark_this_run, processes_left  # noqa: E402
from tests.helpers.postgresql.server import PostgreSQLServer, empty_installation, running_server  # noqa: E402

_LEFT_OUT = pytest.StashKey[int]()
_LEFT_BEHIND = pytest.StashKey[list[Left]]()


def pytest_configure(config: pytest.Config) -> None:
    mark_this_run()
    # A shell that starts a run in the background has it ignore Ctrl-C, which tests and what they start are to handle.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that leaves processes behind, and kill these. Those that carry out parts of a run leave it to it."""
    if hasattr(session.config, "workerinput"):
        return
    directory = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    left = session.config.stash[_LEFT_BEHIND] = processes_left(mark_this_run(), directory)
    if left:
        kill(left)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # The marker expression, as in -m "not docker", is applied after this hook: it may leave them out anyway.
    expression = config.getoption("markexpr")
    needing = [item for item in items if item.get_closest_marker("docker")]
    if not needing or "not docker" in expression or find_engine() is not None:
        return
    if os.environ.get("CI"):
        raise pytest.UsageError(f"{len(needing)} tests need a Docker engine, and none answers")
    config.stash[_LEFT_OUT] = len(needing)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = len(needing)
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Every process of a run in several has left out the same tests; the one that tells of it has collected none."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI set, a test that is skipped has failed."""
    report: pytest.TestReport = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        report.outcome, report.longrepr = "failed", f"A test was skipped in CI, where all must run. {reason}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """With CI set, print each failure at once: a run that is stopped by its time limit prints no summary."""
    if report.failed and os.environ.get("CI") and "PYTEST_XDIST_WORKER" not in os.environ:
        at = time.strftime("%H:%M:%S")
        print(f"\n{at} FAILED {report.nodeid} ({report.when}, {report.duration:.0f} s)", flush=True)
        print("\n".join(report.longreprtext.splitlines()[-12:]), flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left := config.stash.get(_LEFT_BEHIND, []):
        terminalreporter.section("PROCESSES LEFT BEHIND", sep="!", red=True, bold=True)
        for process in left:
            terminalreporter.line(f"{process.pid}: {process.words}")
    number = config.stash.get(_LEFT_OUT, 0)
    if number:
        terminalreporter.section("DOCKER TESTS LEFT OUT", sep="!", red=True, bold=True)
        terminalreporter.line(
            f"{number} tests were NOT run: they need a Docker engine, and none answers at DOCKER_HOST or the usual "
            "socket. `make test` starts one where it can."
        )


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the client remembers of projects is not written to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _leaves_no_containers(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.node.get_closest_marker("docker") or "tmp_path" not in request.fixturenames:
        yield
        return
    directory = request.getfixturevalue("tmp_path")
    yield
    remove_containers_of(directory, require_engine())


@pytest.fixture(autouse=True)
def _leaves_no_file_that_cannot_be_removed(request: pytest.FixtureRequest) -> Iterator[None]:
    """A log may only grow until its attempt is cleared, which those of controllers that were killed never are."""
    if "tmp_path" not in request.fixturenames:
        yield
        return
    directory = request.getfixturevalue("tmp_path")
    yield
    for data in (directory, *directory.glob("*/"), *directory.glob("*/*/")):
        if data.joinpath("jobs").is_dir():
            allow_changes_to_logs(data)


@pytest.fixture(scope="session")
def engine() -> EngineAPI:
    """The engine of this run."""
    return require_engine()


@pytest.fixture(scope="session")
def busybox_image(engine: EngineAPI) -> str:
    """An image with a shell and small programs, running as root."""
    return images.busybox_image(engine)


@pytest.fixture(scope="session")
def user_image(engine: EngineAPI) -> str:
    """The same image with a USER that is not root."""
    return images.user_image(engine)


@pytest.fixture(scope="session")
def no_shell_image(engine: EngineAPI) -> str:
    """An image that holds one program, which is no shell."""
    return images.no_shell_image(engine)


@pytest.fixture(scope="session")
def python_image(engine: EngineAPI) -> str:
    """The product's default image, or a stand-in of that name."""
    return images.python_image(engine)


@pytest.fixture(scope="session")
def toolchains_image(engine: EngineAPI) -> str:
    """An image with Go, Rust and Node.js."""
    return images.toolchains_image(engine)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL server for all tests that do not stop it."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: PostgreSQLServer) -> str:
    """The name of a database with the present schema, which nothing is connected to."""
    return empty_installation(postgresql_server)


@pytest.fixture
def empty_postgresql_url(postgresql_server: PostgreSQLServer) -> Iterator[str]:
    """The URL of a database of the test's own without any table."""
    name = postgresql_server.create_database()
    yield postgresql_server.url(name)
    postgresql_server.drop_database(name)


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQLServer, postgresql_template: str) -> Iterator[str]:
    """The URL of a database of the test's own, with the present schema."""
    name = postgresql_server.create_database(postgresql_template)
    yield postgresql_server.url(name)
    postgresql_server.drop_database(name)
