"""Commands whose URL leads to something that is not a ci-server: one message, status 70, and no error of ours."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ci_cli.main import run_cli
from ci_common.jobs import new_job_id

pytestmark = pytest.mark.slow

JOB = new_job_id()
COMMANDS = [
    *(
        ["list"],
        ["list", "--json"],
        ["list", "--pool"],
        ["status", JOB],
        ["status", "--timing", JOB],
        ["status", "0123"],
    ),
    *(["cancel", JOB], ["delete", JOB], ["cleanup", "--keep", "1"], ["wait", JOB], ["wait", "--all", JOB]),
    *(["retry", "--detach", JOB], ["logs", "--follow", JOB], ["exec", "--detach", "x", "--", "true"]),
]
JSON, STREAM = "application/json", "text/event-stream"
STATUS = '{"job_id": "x", "status": "queued"}'


@contextmanager
def answering(body: str, kind: str, *, stream: str | None = None) -> Iterator[str]:
    """Give the URL of a server that answers everything so, and streams with `stream`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            is_stream = stream is not None and "/stream" in self.path
            data = (stream if is_stream and stream is not None else body).encode()
            self.send_response(200)
            self.send_header("Content-Type", STREAM if is_stream else kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_DELETE = do_GET  # noqa: N815  # as the base class calls them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def check(capsys: pytest.CaptureFixture[str], *args: str) -> None:
    assert run_cli([*args]) == 70, args
    out, err = capsys.readouterr()
    assert "error of ours" not in err, args
    assert len([line for line in err.splitlines() if not line.startswith(("ci: server ", "ci: submitting "))]) == 1, err
    assert out == "", args


@pytest.mark.parametrize(
    "body",
    [
        *(
            "",
            "null",
            "1",
            '"x"',
            "{}",
            "[1]",
            "[[]]",
            "[{}]",
            "<html></html>",
            '{"job_id": 5, "status": {}}',
            "\x1b[2J",
        ),
        '[{"job_id": 5, "status": {}}]',
        "[" * 100_000 + "]" * 100_000,
    ],
    ids=lambda body: body[:20],
)
def test_what_answers_is_not_a_ci_server(body: str, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(body, JSON) as url:
        for command in COMMANDS:
            check(capsys, command[0], "--server", url, *command[1:])
        assert run_cli(["doctor", "--server", url]) == 69
        assert "failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "event",
    [
        *("{", "null", "[]", '{"type": 5}', '{"type": "step"}', '{"type": "log"}', '{"type": "complete"}'),
        *('{"type": "status", "status": 1}', '{"type": "attempt"}', '{"type": "job_id"}', "[" * 100_000),
    ],
    ids=lambda event: event[:40],
)
def test_a_stream_that_is_none(event: str, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(STATUS, JSON, stream=f"data: {event}\n\n") as url:
        check(capsys, "wait", "--server", url, "--all", JOB)


def test_a_page_in_the_place_of_a_stream_is_not_asked_for_again(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(STATUS, JSON) as url:
        check(capsys, "wait", "--server", url, "--all", JOB)
        check(capsys, "wait", "--server", url, JOB)


def test_an_upload(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "ci.yaml").write_text("command: 'true'\n")
    with answering("{}", JSON) as url:
        check(capsys, "submit", "--server", url, "--detach", str(tmp_path))
        check(capsys, "submit", "--server", url, str(tmp_path))
