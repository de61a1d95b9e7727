"""The bare framework, as a reference: the same uvicorn settings with minimal endpoints.

    python -m bench.bare DIRECTORY

`POST /json` answers a JSON body with itself, `POST /file` writes its body to a file below DIRECTORY, synchronises it
to the disk and answers its size. Says on standard error where it listens.
"""

import asyncio
import os
import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ci_cli.roots.serve import new_event_loop
from ci_server.connections.serving import serve
from ci_server.http.exchange import Shutdown


def bare(directory: Path) -> Starlette:
    """Return the application."""

    async def post_json(request: Request) -> Response:
        return JSONResponse(await request.json(), 202)

    async def post_file(request: Request) -> Response:
        size = 0
        with (directory / "received").open("wb", buffering=0) as file:
            async for chunk in request.stream():
                file.write(chunk)
                size += len(chunk)
            await asyncio.to_thread(os.fsync, file.fileno())
        return JSONResponse({"size": size}, 202)

    app = Starlette(routes=[Route("/json", post_json, methods=["POST"]), Route("/file", post_file, methods=["POST"])])
    app.state.shutdown = Shutdown()
    return app


async def main() -> None:
    """Serve until a signal."""
    await serve(bare(Path(sys.argv[1])), on_ready=lambda url: print(f"serving at {url}", file=sys.stderr, flush=True))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
