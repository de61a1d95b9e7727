"""Connects a command to a server: the named one, else this user's `ci serve`, else one embedded in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ci_cli.choosing import command_line, find_server, server_option
from ci_cli.console import say
from ci_client.aio import CiClient
from ci_client.errors import NoServer, NoSuchJob, ServerError
from ci_common.jobs import is_job_id

_SHORTEST_PREFIX = 4
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Connection:
    """A client, and which server it talks to."""

    client: CiClient
    embedded: bool
    """Whether the server runs in this process and ends with it. Its jobs' containers go on."""
    option: str = ""
    """The option that names the server, for advice to the user; empty if none is needed."""

    @property
    def where(self) -> str:
        """The server's place, for people."""
        return "embedded in this command" if self.embedded else self.client.server_url

    def advice(self, command: str, job_id: str, *rest: str) -> str:
        """Return a command line that the user can run next."""
        return self.command(command, job_id, *rest)

    def command(self, command: str, *rest: str) -> str:
        """Return a command line for this server."""
        return command_line(command, self.option, *rest)

    async def resolve(self, text: str) -> str:
        """Return the id of the job that `text` names: a full id, or the beginning of exactly one. Raises NoSuchJob."""
        if is_job_id(text):
            return text
        if len(text) < _SHORTEST_PREFIX:
            raise NoSuchJob(
                f"{text!r} is not a job's id; give one, or at least {_SHORTEST_PREFIX} characters of its beginning; "
                "`ci list` shows the jobs"
            )
        prefix = text.lower()
        jobs = await self.client.list_jobs(limit=100, q=prefix)
        found = [str(job["job_id"]) for job in jobs if str(job["job_id"]).startswith(prefix)]
        if len(found) == 1:
            return found[0]
        if not found:
            raise NoSuchJob(f"no job has an id that is {text!r} or begins with it; `ci list` shows the jobs")
        named = ", ".join(found[:_MOST_NAMED]) + (", …" if len(found) > _MOST_NAMED else "")
        raise NoSuchJob(f"several jobs have ids that begin with {text!r}: {named}")


def _report_break(why: str) -> None:
    say(f"the stream broke, and is being resumed: {why}")


def _report_busy(refusal: ServerError, pause: float) -> None:
    say(f"not accepted yet: {refusal}; trying again in {pause:.0f} s")


@asynccontextmanager
async def connected(
    server: str | None, *, carries_jobs: bool = False, outlives: str | None = None, url: str | None = None
) -> AsyncIterator[Connection]:
    """Connect to the server that `find_server` finds, else to an embedded one.

    An embedded server runs jobs only with `carries_jobs`. `outlives` says what would be left undone when this process
    ends; with it, NoServer is raised in place of embedding a server. `url` is that of a server
    that has answered already.
    """
    has_answered, url = url is not None, url or find_server(server)
    if url is not None:
        async with CiClient(url, on_break=_report_break, on_busy=_report_busy, has_answered=has_answered) as client:
            yield Connection(client, embedded=False, option=server_option(server))
        return
    if outlives is not None:
        raise NoServer(
            f"no server is configured, and {outlives}: start one with `ci serve`, name one with --server or "
            "CI_SERVER_URL, or use `ci run`, which needs none"
        )
    from ci_cli.roots.embedded import embedded_server

    async with embedded_server(carries_jobs=carries_jobs) as url, CiClient(url) as client:
        yield Connection(client, embedded=True)
