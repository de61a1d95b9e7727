"""`ci mcp`, driven by the official client over standard input and output, against the real server."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

from ci_cli.agents.limits import ANSWER_BYTES, LARGEST_ANSWER_BYTES
from ci_client.aio import CiClient
from tests.helpers.installation import ROOT
from tests.helpers.service import Service, finished, says, tree, until
from tests.helpers.waiting import PATIENCE

FAILING = {
    "test_shop.py": "def test_total():\n    assert sum([1]) == 1\n\n\ndef test_discount():\n    assert sum([9]) == 8\n",
    "ci.yaml": f"steps: [{{name: tests, run: {sys.executable} -m pytest -v -p no:cacheprovider}}]\n"
    "artifacts: [{paths: ['*.py'], when: always}]\n",
}
TOOLS = {
    *("run_project", "run_command", "wait", "failures", "read_log"),
    *("search_log", "artifacts", "rerun", "cancel", "list_jobs"),
}
Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def runtime() -> str:
    return "process"


@pytest.fixture
def agent(environment: dict[str, str]) -> Connect:
    """A function that starts `ci mcp` and connects to it."""

    @asynccontextmanager
    async def connect(*args: str, mode: Any = "auto", errors: Path | None = None) -> AsyncIterator[Client]:
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["-m", "ci_cli", "mcp", *args],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        )
        with open(errors or os.devnull, "w") as log:
            async with Client(stdio_client(parameters, errlog=log), mode=mode) as client:
                yield client

    return connect


def size(answer: CallToolResult) -> int:
    """Return what an answer takes: its text and its structure."""
    return len(text(answer).encode()) + len(json.dumps(answer.structured_content or {}).encode())


def text(answer: CallToolResult) -> str:
    [content] = answer.content
    assert isinstance(content, TextContent)
    return content.text


async def called(client: Client, tool: str, most: int = ANSWER_BYTES, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """Call a tool that must succeed, and return text and structure."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, text(answer)
    assert size(answer) <= most
    return text(answer), answer.structured_content or {}


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return text(answer)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_list_of_tools_is_short_and_says_what_changes_something(agent: Connect, mode: str) -> None:
    async with agent(mode=mode) as client:
        listed = await client.list_tools()
        assert len(listed.model_dump_json(by_alias=True, exclude_none=True)) <= 8 * 1024
        hints = {tool.name: tool.annotations for tool in listed.tools}
        assert set(hints) == TOOLS
        reads = {name for name, hint in hints.items() if hint and hint.read_only_hint}
        assert reads == {"wait", "failures", "read_log", "search_log", "list_jobs"}
        assert {name for name in TOOLS - reads if hints[name].destructive_hint is not False} == {"cancel"}
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["fix"]
        templates = (await client.list_resource_templates()).resource_templates
        assert {each.uri_template for each in templates} == {"ci://jobs/{job_id}", "ci://jobs/{job_id}/log"}


async def test_a_failing_project_is_found_explained_and_rerun_within_6_kb(
    agent: Connect, service: Service, tmp_path: Path
) -> None:
    project = tree(tmp_path / "shop", FAILING)
    async with agent("--server", service.url) as client, CiClient(service.url) as direct:
        job_id = await direct.submit(project)
        await finished(direct, job_id)
        steps = [
            await client.call_tool("list_jobs", {"conclusion": "failed"}),
            await client.call_tool("failures", {"job_id": job_id}),
            await client.call_tool("rerun", {"job_id": job_id}),
        ]
        assert job_id in text(steps[0])
        assert "E       assert 9 == 8" in text(steps[1])
        assert "test_discount" in text(steps[1])
        again = steps[2].structured_content or {}
        assert (again["finished"], again["conclusion"]) == (True, "failed")
        assert again["job_id"] != job_id
        assert sum(map(size, steps)) <= 6 * 1024
        tree(project, {"test_shop.py": FAILING["test_shop.py"].replace("== 8", "== 9")})
        answer, structure = await called(client, "run_project", path=str(project))
        assert structure["conclusion"] == "succeeded"
        assert "succeeded" in answer


UNITTEST = {
    "test_shop.py": "import unittest\n\n\nclass Shop(unittest.TestCase):\n"
    "    def test_total(self):\n        self.assertEqual(sum([1]), 1)\n\n"
    "    def test_discount(self):\n        self.assertEqual(sum([9]), 8)\n",
    "ci.yaml": "steps: [{name: tests, run: python3 -m unittest -v}]\nproject: shop\n",
}


@pytest.mark.docker
@pytest.mark.parametrize("runtime", ["docker"])
async def test_a_failing_project_in_a_container_is_found_explained_and_rerun_within_6_kb(
    agent: Connect, service: Service, tmp_path: Path
) -> None:
    project = tree(tmp_path / "shop", UNITTEST)
    async with agent("--server", service.url) as client, CiClient(service.url) as direct:
        arguments = {"path": str(project), "wait_seconds": PATIENCE}
        steps = [
            await client.call_tool("run_project", arguments),
            await client.call_tool("list_jobs", {"conclusion": "failed"}),
        ]
        job_id = (steps[0].structured_content or {})["job_id"]
        steps += [
            await client.call_tool("failures", {"job_id": job_id}),
            await client.call_tool("rerun", {"job_id": job_id, "wait_seconds": PATIENCE}),
        ]
        assert (await direct.get_job(job_id))["runtime"] == "docker"
        assert job_id in text(steps[1])
        assert "FAIL: test_discount" in text(steps[2])
        assert "AssertionError: 9 != 8" in text(steps[2])
        again = steps[3].structured_content or {}
        assert (again["finished"], again["conclusion"]) == (True, "failed")
        assert again["job_id"] != job_id
        assert sum(map(size, steps)) <= 6 * 1024
        tree(project, {"test_shop.py": UNITTEST["test_shop.py"].replace(", 8)", ", 9)")})
        _, structure = await called(client, "run_project", **arguments)
        assert structure["conclusion"] == "succeeded"


async def test_logs_are_read_and_searched_by_lines(agent: Connect, service: Service) -> None:
    line = r"\033[31mred\033[0m\033]0;t\007 \342\200\256x\n"
    script = f"for i in $(seq 1 20000); do echo line $i of a long log; done; printf '{line}'"
    async with agent("--server", service.url) as client:
        answer, structure = await called(client, "run_command", image="none", command=script)
        job = structure["job_id"]
        answer, structure = await called(client, "read_log", job_id=job)
        assert "     1 line 1 of a long log" in answer
        answer, structure = await called(client, "read_log", job_id=job, start=structure["next_start"])
        assert structure["total"] == 20001
        answer, structure = await called(client, "read_log", LARGEST_ANSWER_BYTES, job_id=job, start=19000, limit=2000)
        assert 0 < structure["shown"] < 1002
        assert f"read_log(start={structure['next_start']})" in answer
        answer, _ = await called(client, "read_log", LARGEST_ANSWER_BYTES, job_id=job, tail=2)
        assert answer.splitlines()[1:3] == [" 20000 line 20000 of a long log", " 20001 red \\u202ex"]
        answer, structure = await called(client, "search_log", job_id=job, pattern="LINE 777 ", context=1)
        assert structure == {"total": 1, "lines": [777]}
        assert "   776 line 776" in answer
        answer, structure = await called(client, "search_log", job_id=job, pattern=r"line \d*99 ", regex=True)
        assert structure["total"] == 200
        assert "not all are shown" in answer
        await called(client, "search_log", LARGEST_ANSWER_BYTES, job_id=job, pattern="of", limit=500)
        assert "not a regular expression" in await refused(client, "search_log", job_id=job, pattern="(", regex=True)
        slow = await refused(client, "search_log", job_id=job, pattern=r"(?:\w+\W?)+!", regex=True)
        assert "takes too long" in slow
        assert "its steps are" in await refused(client, "read_log", job_id=job, step="deploy")
        log = await client.read_resource(f"ci://jobs/{job}/log")
        assert "line 20000" in log.contents[0].text  # type: ignore[union-attr]  # it is text
        assert "\x1b" not in answer


async def test_a_long_job_is_waited_for_in_short_calls_and_cancelled(agent: Connect, service: Service) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    async with agent("--server", service.url) as client, CiClient(service.url) as direct:
        arguments = {"image": "none", "command": "echo begun; sleep 600", "wait_seconds": 6}
        answer = await client.call_tool("run_command", arguments, progress_callback=progress)
        state = answer.structured_content or {}
        assert (state["finished"], state["status"]) == (False, "running")
        assert "  begun" in text(answer).splitlines()
        assert told[0][:2] == (5.0, 6.0)
        assert "running" in (told[0][2] or "")
        with anyio.move_on_after(1.0) as scope:
            await client.call_tool("wait", {"job_id": state["job_id"], "wait_seconds": 300})
        assert scope.cancelled_caught
        assert (await direct.get_job(state["job_id"]))["status"] == "running"
        await called(client, "cancel", job_id=state["job_id"])
        answer_text, state = await called(client, "wait", job_id=state["job_id"][:13], wait_seconds=PATIENCE)
        assert state["conclusion"] == "cancelled"
        assert "cancelled" in answer_text


async def test_artifacts_are_listed_read_and_saved(agent: Connect, service: Service, tmp_path: Path) -> None:
    project = tree(tmp_path / "shop", FAILING)
    async with agent("--server", service.url) as client:
        _, structure = await called(client, "run_project", path=str(project))
        job = structure["job_id"]
        answer, _ = await called(client, "artifacts", job_id=job)
        assert "- test_shop.py (" in answer
        answer, _ = await called(client, "artifacts", job_id=job, path="test_shop.py")
        assert "    assert sum([9]) == 8" in answer.splitlines()
        assert "it has: test_shop.py" in await refused(client, "artifacts", job_id=job, path="other.py")
        await called(client, "artifacts", job_id=job, save_to=str(tmp_path / "saved"))
        assert (tmp_path / "saved" / "test_shop.py").read_text() == FAILING["test_shop.py"]


async def test_errors_say_what_is_wrong(agent: Connect, service: Service, tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    async with agent("--server", service.url, errors=errors) as client:
        assert "is not a directory" in await refused(client, "run_project", path=str(tmp_path / "none"))
        assert "is not a duration" in await refused(client, "run_command", image="none", command="true", timeout="soon")
        assert "no job has an id" in await refused(client, "failures", job_id="01234567")
    assert "Traceback" not in errors.read_text()
    async with agent("--server", "http://127.0.0.1:9") as client:
        assert "127.0.0.1:9" in await refused(client, "list_jobs")


async def test_without_a_server_jobs_run_in_the_command_itself(agent: Connect) -> None:
    async with agent() as client:
        command = "echo to the log; echo and to errors >&2; exit 7"
        answer, structure = await called(client, "run_command", image="none", command=command, wait_seconds=PATIENCE)
        assert structure["exit_code"] == 7
        assert "to the log" in answer


async def test_only_messages_of_the_protocol_are_written(environment: dict[str, str], service: Service) -> None:
    async with CiClient(service.url) as client:
        job_id = await client.create_job({"image": "none", "command": "echo up; sleep 600"})
        await until(client, job_id, says("up"))
    first = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": first},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "list_jobs", "arguments": {}}},
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ci_cli", "mcp", "--server", service.url),
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.writelines(json.dumps(message).encode() + b"\n" for message in messages)
    async with asyncio.timeout(PATIENCE):
        lines = [json.loads(await process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        rest, status = await process.stdout.read(), await process.wait()
    assert [line["id"] for line in lines] == [1, 2]
    assert job_id in lines[1]["result"]["content"][0]["text"]
    assert (rest, status) == (b"", 0)


def test_without_the_extra_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['mcp'] = None; from ci_cli.main import run_cli; sys.exit(run_cli(['mcp']))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 64
    assert "pip install 'ci-server[mcp]'" in ended.stderr
