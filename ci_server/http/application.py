"""The application as a server calls it."""

import asyncio
import time
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from ci_server.http.allowed_hosts import HostCheck
from ci_server.http.detached_response import handed_over
from ci_server.http.middleware import Boundary
from ci_server.http.request_log import log_request


class Application(Starlette):
    """An application whose routes may hand answers over, with one layer of its own between the server and them."""

    def __init__(self, *, hosts: HostCheck, **starlette: Any) -> None:
        super().__init__(**starlette)
        self._hosts = hosts

    def build_middleware_stack(self) -> ASGIApp:
        """Return the boundary alone: it does all that Starlette's own layers would, once for each request."""
        return Boundary(self.router, self._hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.monotonic()
        inner = dict(scope)  # What the layers add to it goes with them.
        await super().__call__(inner, receive, send)
        answer = handed_over(inner)
        if answer is None:
            return
        job_id, status = answer.job_id, answer.status_code
        try:
            held = await answer.begin(send)
        except Exception:
            log_request(scope, status, time.monotonic() - begun, job_id)
            raise  # Its head has gone, so that only the connection's end can tell.
        del inner, answer, send  # Thousands may wait here.
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if not held.abandoned:
                raise
        finally:
            held.leave()
        log_request(scope, status, time.monotonic() - begun, job_id)
