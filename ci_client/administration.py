"""The part of the client that is about a server as a whole: what it keeps, who may use it, and cleaning up."""

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import httpx

from ci_client.errors import AnswerNotUnderstood
from ci_client.transport import Connection, object_answer

_AUDIT_PAGE: Final = 1000


class Administration:
    """What a client can ask of a server as a whole. The client has to set `server_url` and `_connection`."""

    server_url: str
    _connection: Connection

    async def pool(self) -> dict[str, Any]:
        """Return the pool of warm containers, as `GET /pool` shows it."""
        pool = object_answer(await self._connection.ask("GET", "/pool"))
        if not isinstance(pool.get("kinds"), list):
            raise AnswerNotUnderstood(f"{self.server_url}/pool answered without kinds")
        return pool

    async def environments(self) -> list[dict[str, Any]]:
        """Return the prepared environments, as `GET /environments` shows them."""
        found = (await self._connection.ask("GET", "/environments")).json()
        if not isinstance(found, list) or not all(isinstance(each, dict) and "key" in each for each in found):
            raise AnswerNotUnderstood(f"{self.server_url}/environments answered without environments")
        return found

    async def remove_environment(self, key: str) -> None:
        """Remove a prepared environment. Raises ServerError 404 if there is none."""
        await self._connection.ask("DELETE", f"/environments/{quote(key, safe='')}")

    async def caches(self) -> list[dict[str, Any]]:
        """Return the caches, as `GET /caches` shows them."""
        found = (await self._connection.ask("GET", "/caches")).json()
        if not isinstance(found, list) or not all(isinstance(each, dict) and "id" in each for each in found):
            raise AnswerNotUnderstood(f"{self.server_url}/caches answered without caches")
        return found

    async def remove_cache(self, identity: str) -> None:
        """Remove a cache. Raises ServerError 404 if there is none."""
        await self._connection.ask("DELETE", f"/caches/{quote(identity, safe='')}")

    async def keys(self) -> list[dict[str, Any]]:
        """Return the keys that may do no more than the own one, as `GET /keys` shows them."""
        found = (await self._connection.ask("GET", "/keys")).json()
        if not isinstance(found, list) or not all(isinstance(each, dict) and "id" in each for each in found):
            raise AnswerNotUnderstood(f"{self.server_url}/keys answered without keys")
        return found

    async def create_key(self, **fields: Any) -> dict[str, Any]:
        """Make a key of these fields of `POST /keys`, and return it; its `key` is not shown again."""
        return object_answer(await self._connection.ask("POST", "/keys", json=fields), "id", "key")

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key. Raises ServerError 404 if there is none."""
        await self._connection.ask("DELETE", f"/keys/{quote(key_id, safe='')}")

    async def rotate_key(self, key_id: str | None = None, *, overlap: str | float | None = None) -> dict[str, Any]:
        """Give a key, by default the own one, another secret, and return it with the new secret in `key`.

        The present secret is accepted for `overlap` too, such as `"1h"`; by default the server's 24 hours.
        """
        body = {} if overlap is None else {"overlap": overlap}
        path = f"/keys/{quote(key_id or 'own', safe='')}/rotate"
        return object_answer(await self._connection.ask("POST", path, json=body), "id", "key")

    async def own_key(self) -> dict[str, Any]:
        """Return who sends these requests, as `GET /keys/own` shows it. Raises ServerError 401 without a valid key."""
        return object_answer(await self._connection.ask("GET", "/keys/own"), "name")

    async def create_own_key(self) -> dict[str, Any]:
        """Change the token of an issuer, which these requests have, for a key, and return it with its `key`."""
        return object_answer(await self._connection.ask("POST", "/keys/own"), "id", "key")

    async def sign_in_issuers(self) -> list[dict[str, Any]]:
        """Return the issuers at which people sign in, as `GET /sign-in` shows them."""
        found = (await self._connection.ask("GET", "/sign-in")).json()
        if not isinstance(found, list) or not all(isinstance(each, dict) and "issuer" in each for each in found):
            raise AnswerNotUnderstood(f"{self.server_url}/sign-in answered without issuers")
        return found

    async def projects(self) -> list[dict[str, Any]]:
        """Return the projects that were created, as `GET /projects` shows them."""
        found = (await self._connection.ask("GET", "/projects")).json()
        if not isinstance(found, list) or not all(isinstance(each, dict) and "name" in each for each in found):
            raise AnswerNotUnderstood(f"{self.server_url}/projects answered without projects")
        return found

    async def project(self, name: str) -> dict[str, Any]:
        """Return a project, as `GET /projects/{name}` shows it. Raises ServerError 404 if none was created."""
        return object_answer(await self._connection.ask("GET", _project(name)), "name")

    async def create_project(self, **fields: Any) -> dict[str, Any]:
        """Create a project of these fields of `POST /projects`, and return it."""
        return object_answer(await self._connection.ask("POST", "/projects", json=fields), "name")

    async def change_project(self, name: str, **fields: Any) -> dict[str, Any]:
        """Change these fields of a project, None for a setting as if it was never set, and return it."""
        return object_answer(await self._connection.ask("PATCH", _project(name), json=fields), "name")

    async def members(self, project: str) -> list[dict[str, Any]]:
        """Return the members of a project, as `GET /projects/{project}/members` shows them."""
        path = f"{_project(project)}/members"
        found = (await self._connection.ask("GET", path)).json()
        if not isinstance(found, list) or not all(isinstance(each, dict) and "owner" in each for each in found):
            raise AnswerNotUnderstood(f"{self.server_url}{path} answered without members")
        return found

    async def set_member(self, project: str, owner: str, role: str) -> dict[str, Any]:
        """Make someone a member of a project with this role, and return the member."""
        path = f"{_project(project)}/members/{quote(owner, safe='')}"
        return object_answer(await self._connection.ask("PUT", path, json={"role": role}), "owner")

    async def remove_member(self, project: str, owner: str) -> None:
        """Remove a member of a project. Raises ServerError 404 if there is none."""
        await self._connection.ask("DELETE", f"{_project(project)}/members/{quote(owner, safe='')}")

    async def remove_project(self, name: str) -> None:
        """Remove a project with its settings. Its jobs stay. Raises ServerError 404 if none was created."""
        await self._connection.ask("DELETE", _project(name))

    async def secrets(self) -> list[dict[str, Any]]:
        """Return the secrets without their values, as `GET /secrets` shows them."""
        found = (await self._connection.ask("GET", "/secrets")).json()
        if not isinstance(found, list) or not all(isinstance(each, dict) and "name" in each for each in found):
            raise AnswerNotUnderstood(f"{self.server_url}/secrets answered without secrets")
        return found

    async def set_secret(self, name: str, *, project: str | None = None, **fields: Any) -> dict[str, Any]:
        """Set a secret of a project, or of none, to these fields of `PUT /secrets/{name}`, and return what is kept."""
        return object_answer(
            await self._connection.ask("PUT", _secret(name, project), json=fields),
            "name",
        )

    async def remove_secret(self, name: str, *, project: str | None = None) -> None:
        """Remove a secret of a project, or of none. Raises ServerError 404 if there is none."""
        await self._connection.ask("DELETE", _secret(name, project))

    async def audit(self, **query: str) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the pages of the audit, newest entry first; with `after` in `query`, those with higher numbers upwards.

        `query` is that of `GET /audit`, as in `actor="alice"` or `after="0"`.
        """
        url: str | None = str(httpx.URL("/audit", params={"limit": str(_AUDIT_PAGE), **query}))
        while url:
            response = await self._connection.ask("GET", url)
            found = response.json()
            if not isinstance(found, list) or not all(map(_is_entry, found)):
                raise AnswerNotUnderstood(f"{self.server_url}/audit answered without entries")
            yield found
            url = response.links.get("next", {}).get("url")

    async def verify_audit(self, mark: str | None = None) -> dict[str, Any]:
        """Have the server walk along the audit, which has to have `mark`, and return what it has found."""
        query = {} if mark is None else {"mark": mark}
        return object_answer(
            await self._connection.ask("GET", "/audit/verify", params=query, timeout=self._connection.patient),
            "removed",
            "last",
        )

    async def clean_up(self, **conditions: Any) -> list[str]:
        """Delete the completed jobs for which all `conditions` hold, and return their ids.

        `conditions` are the fields of `POST /jobs/cleanup`, such as `older_than="30d"`; `dry_run=True` deletes nothing.
        """
        job_ids: list[str] = []
        while True:
            answer = object_answer(
                await self._connection.ask("POST", "/jobs/cleanup", json=conditions, timeout=self._connection.patient)
            )
            if not isinstance(answer.get("job_ids"), list):
                raise AnswerNotUnderstood(f"{self.server_url}/jobs/cleanup answered without job_ids")
            job_ids += answer["job_ids"]
            if not answer.get("more") or conditions.get("dry_run"):
                return job_ids

    async def pending_removals(self) -> int:
        """Return the number of deleted jobs whose files have not been removed yet."""
        pending = object_answer(await self._connection.ask("GET", "/jobs/cleanup")).get("pending")
        if not isinstance(pending, int):
            raise AnswerNotUnderstood(f"{self.server_url}/jobs/cleanup answered without pending")
        return pending

    async def health(self) -> dict[str, Any]:
        """Return `{"status": "ok"}`, the answer of a server that is up."""
        return object_answer(await self._connection.ask("GET", "/health"), "status")


def _is_entry(found: object) -> bool:
    return isinstance(found, dict) and isinstance(found.get("number"), int) and {"previous", "digest"} <= found.keys()


def _project(name: str) -> str:
    return f"/projects/{quote(name, safe='')}"


def _secret(name: str, project: str | None) -> str:
    query = "" if project is None else f"?project={quote(project, safe='')}"
    return f"/secrets/{quote(name, safe='')}{query}"
