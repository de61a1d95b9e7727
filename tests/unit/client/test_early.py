"""A project is sent before the rest of the client is loaded, and the rest takes over where that is not the usual."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ci_cli.main import run_cli
from ci_client.access.addresses import parts_of
from ci_client.errors import SubmissionUncertain
from ci_client.packing.scan import scan_directory
from ci_client.submitting import early
from ci_client.submitting.early import submit_early
from tests.helpers.waiting import PATIENCE
from tests.unit.client.test_cli import loaded_by

JOB = "0192f0c1-7f1e-7c3a-8b0a-5d7f3a2b1c4d"
BREAK = "the connection breaks"
INTERRUPT = "Ctrl-C"


class Receiver(ThreadingHTTPServer):
    """A server that takes one file by manifest. What it is `told` for a request, it does once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: dict[str, str | tuple[int, dict[str, Any]]] = {}
        """By method and path: BREAK, INTERRUPT, or a status and a body."""
        self.asked: list[str] = []
        self.keys: set[str | None] = set()
        self.received = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def log_message(self, *_: object) -> None:
        pass

    def _do(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_chunked = "Transfer-Encoding" in self.headers
        while is_chunked and self.rfile.read(int(self.rfile.readline(), 16) + 2) != b"\r\n":
            pass
        request = f"{self.command} {urlsplit(self.path).path}"
        self.server.asked.append(request)
        self.server.keys.add(self.headers.get("Authorization"))
        told = self.server.told.pop(request, None)
        if told == BREAK:
            self.close_connection = True
            return
        if told == INTERRUPT:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(PATIENCE)
            return
        assert not isinstance(told, str)
        status, answer = told or self._usual(request)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = _do  # noqa: N815  # names that the base class asks for

    def _usual(self, request: str) -> tuple[int, dict[str, Any]]:
        if request == "POST /uploads":
            return 201, {"upload_id": "u", "received": 0, "frames": 1, "missing": [[0, 0]]}
        if request == "POST /uploads/u/submit":
            return 202, {"job_id": JOB}
        if self.command == "PATCH":
            self.server.received = 1
        return 200, {"upload_id": "u", "received": self.server.received, "frames": 1}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CI_TOKEN", raising=False)
    root = tmp_path / "project"
    root.mkdir()
    (root / "file").write_text("content")
    return root


def submitted(project: Path, receiver: Receiver) -> int:
    return run_cli(["submit", "--detach", str(project), "--server", receiver.url])


USUAL = ["POST /uploads", "PATCH /uploads/u", "POST /uploads/u/submit"]


def test_a_project_is_sent_before_what_takes_long_to_import(receiver: Receiver, project: Path) -> None:
    command = f"['submit', '--detach', {str(project)!r}, '--server', {receiver.url!r}]"
    loaded = loaded_by(f"from ci_cli.main import run_cli; assert run_cli({command}) == 0")
    slow = {"asyncio", "anyio", "httpx", "httpcore", "ssl", "concurrent.futures", "tempfile", "email", "zipfile"}
    assert not loaded & slow
    assert receiver.asked == USUAL


def test_the_usual_course(
    receiver: Receiver, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_TOKEN", "secret")
    assert submitted(project, receiver) == 0
    assert receiver.asked == USUAL
    assert receiver.keys == {"Bearer secret"}
    shown = capsys.readouterr()
    assert shown.out == f"{JOB}\n"
    assert f"ci: server {receiver.url}\nci: sent " in shown.err


@pytest.mark.parametrize("request_", USUAL)
def test_what_breaks_goes_on_from_there_and_makes_one_job(receiver: Receiver, project: Path, request_: str) -> None:
    receiver.told[request_] = BREAK
    assert submitted(project, receiver) == 0
    assert [asked for asked in receiver.asked if asked != "GET /uploads/u"] == sorted(
        [*USUAL, request_], key=USUAL.index
    )


def test_a_refusal_is_told_as_ever(receiver: Receiver, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"code": "invalid_spec", "detail": "the spec is wrong"}
    submit = "POST /uploads/u/submit"
    receiver.told[submit] = (422, problem)
    assert submitted(project, receiver) == 0, "the second time, it is taken"
    assert receiver.asked == [*USUAL, submit]
    receiver.told = {"POST /uploads": (413, {"code": "upload_too_large", "detail": "less, please"})}
    _told_twice(receiver, "POST /uploads")
    assert submitted(project, receiver) == 64
    assert "ci: less, please" in capsys.readouterr().err


@pytest.mark.parametrize("status", [401, 403])
def test_a_sender_that_is_refused_asks_once(
    receiver: Receiver, project: Path, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Servers count wrong keys, and a person who mistyped one has tried it once."""
    receiver.told = {"POST /uploads": (status, {"code": "forbidden", "detail": "not here"})}
    assert submitted(project, receiver) == 64
    assert receiver.asked == ["POST /uploads"]
    assert "ci: not here" in capsys.readouterr().err


def _told_twice(receiver: Receiver, request: str) -> None:
    """Have the receiver say the same to the request that follows."""

    class Twice(dict[str, Any]):
        def pop(self, name: str, otherwise: Any = None) -> Any:
            return self.get(name, otherwise)

    receiver.told = Twice({request: receiver.told[request]})


def test_an_upload_that_is_gone_is_begun_again(receiver: Receiver, project: Path) -> None:
    receiver.told["PATCH /uploads/u"] = (404, {"code": "upload_not_found", "detail": "it is gone"})
    assert submitted(project, receiver) == 0
    assert receiver.asked[0] == "POST /uploads"
    assert receiver.asked[-1] == "POST /uploads/u/submit"


def test_large_changes_are_left_to_the_rest(receiver: Receiver, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "_MOST_BYTES", 1)
    scanned, asked_before = scan_directory(project), list[list[str]]()
    assert submit_early(scanned, {}, receiver.url, on_large=lambda: asked_before.append([*receiver.asked])) is None
    assert asked_before in ([[]], [["POST /uploads"]]), "what is large is prepared for while the server reads"
    assert scanned.begun is not None
    assert not scanned.begun.is_received
    assert receiver.asked == ["POST /uploads"]
    assert submitted(project, receiver) == 0


def test_nothing_is_prepared_for_a_small_project(receiver: Receiver, project: Path) -> None:
    assert submit_early(scan_directory(project), {}, receiver.url, on_large=pytest.fail)


def test_an_interrupt_says_that_there_may_be_a_job(receiver: Receiver, project: Path) -> None:
    receiver.told["POST /uploads/u/submit"] = INTERRUPT
    with pytest.raises(SubmissionUncertain, match="interrupted"):
        submit_early(scan_directory(project), {}, receiver.url)
    receiver.told["POST /uploads"] = INTERRUPT
    assert submitted(project, receiver) == 130


def test_a_host_that_does_not_answer_is_waited_for_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def connect(address: object, timeout: float) -> None:
        asked.append(address)
        raise TimeoutError

    monkeypatch.setattr("socket.create_connection", connect)
    assert run_cli(["submit", "--detach", str(project), "--server", "http://127.0.0.1:1"]) == 69
    assert asked == [("127.0.0.1", 1)]
    assert "ci: no server answers at http://127.0.0.1:1: it took too long" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "variables", "is_plain"),
    [
        ("http://127.0.0.1:8000", {"HTTP_PROXY": "http://proxy"}, True),
        ("http://localhost", {}, True),
        ("unix:///run/ci.sock", {"http_proxy": "http://proxy"}, True),
        ("http://build.example:8000/ci", {}, True),
        ("http://build.example:8000/ci", {"all_proxy": "http://proxy"}, False),
        ("http://user:word@build.example", {}, False),
        ("https://build.example", {}, False),
    ],
)
def test_where_requests_go_straight_to_the_server(
    url: str, variables: dict[str, str], is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert early._is_plain(parts_of(url)) is is_plain
