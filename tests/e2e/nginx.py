"""Debian's nginx as a private process: a configuration, a directory and a port of its own."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.helpers.scripts import provide
from tests.helpers.waiting import eventually

_CONFIGURATION = """
daemon off;
{user}
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
{directives}
        }}
    }}
}}
"""


class Nginx:
    """A proxy on `port` before `upstream`, a URL.

    `directives` stand in its location beside `proxy_pass`; by default there are none.
    """

    def __init__(self, directory: Path, port: int, upstream: str, directives: str = "") -> None:
        provide("nginx")
        directory.mkdir()
        self._stored = directory / "proxy"
        self.url = f"http://127.0.0.1:{port}"
        self._configuration = directory / "nginx.conf"
        self._errors = directory / "error.log"
        user = "user root;" if os.geteuid() == 0 else ""
        self._configuration.write_text(
            _CONFIGURATION.format(directory=directory, port=port, upstream=upstream, directives=directives, user=user)
        )
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Return once it takes connections."""
        self._process = subprocess.Popen(
            ["nginx", "-c", self._configuration, "-e", self._errors],
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        pid_file = self._configuration.with_name("nginx.pid")
        pid = str(self._process.pid)
        await eventually(lambda: self._lives() and pid_file.exists() and pid_file.read_text().strip() == pid)

    def _lives(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._errors.read_text()
        return True

    def stored(self) -> list[str]:
        """Return the files it has open with what it has read of answers and its readers have not; they have no name."""
        assert self._process is not None
        pid = self._process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        names: list[str] = []
        for file in (file for worker in workers for file in Path(f"/proc/{worker}/fd").iterdir()):
            with suppress(FileNotFoundError):  # Closed just then.
                names.append(os.readlink(file))
        return [name for name in names if name.startswith(str(self._stored))]

    def kill(self) -> None:
        """Let it die by SIGKILL, workers and all. May be called twice."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
