"""A server that speaks S3, for tests: moto's, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import httpx

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}
_SERVE = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Run a server; yield its URL. What it says goes to `log`."""
    with log.open("wb") as said:
        process = subprocess.Popen([sys.executable, "-c", _SERVE], stdout=subprocess.PIPE, stderr=said)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def make_bucket(url: str, name: str) -> None:
    """Make an empty bucket."""
    httpx.put(f"{url}/{name}", headers={"Authorization": _ANYBODY}, trust_env=False, timeout=60).raise_for_status()


_ANYBODY = (
    "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=" + 64 * "0"
)


def aws_variables(url: str) -> dict[str, str]:
    """Return the variables with which programs find the server at `url`."""
    return CREDENTIALS | {"AWS_ENDPOINT_URL": url}


@contextmanager
def in_environment(url: str) -> Iterator[None]:
    """Set the variables for this process."""
    with patch.dict("os.environ", aws_variables(url)):
        yield
