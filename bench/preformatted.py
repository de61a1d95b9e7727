"""The lowest cost of a stream: a plain ASGI callable that sends the same bytes to all connections.

python -m bench.preformatted    (prints its port; each line on standard input is sent, `end` ends all streams)
"""

import asyncio
import socket
import sys
from typing import Any

import uvicorn

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
waiting: list[asyncio.Future[dict[str, Any]]] = []


async def stream(_: Any, receive: Any, send: Any) -> None:
    """Send frames until the stream ends."""
    await send(START)
    watching = asyncio.create_task(until_gone(receive))
    message: dict[str, Any] = {"more_body": True}
    while message["more_body"]:
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        message = await turn
        await send(message)
    watching.cancel()


async def until_gone(receive: Any) -> None:
    """Return when the client has disconnected. Without this, a callable would hang its server."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def feed() -> None:
    """Pass lines of standard input to all waiting readers."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        more = line != b"end\n"
        message = {"type": "http.response.body", "body": line + b"\n" if more else b"", "more_body": more}
        turns = waiting.copy()
        waiting.clear()
        for turn in turns:
            if not turn.done():
                turn.set_result(message)


async def main() -> None:
    """Serve on a free port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(stream, lifespan="off", ws="none", log_config=None, access_log=False)
        serving = asyncio.create_task(uvicorn.Server(config).serve([listener]))
        await feed()
        serving.cancel()


if __name__ == "__main__":
    asyncio.run(main())
