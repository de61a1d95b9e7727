"""Reads fields of secrets in HashiCorp Vault: `GET /v1/MOUNT/data/PATH` of the KV engine, version 2."""

import json
import re
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, urlsplit

from ci_common.settings import Settings

SECONDS: Final = 10.0
_MOST_BYTES: Final = 4 * 1024 * 1024
_REFERENCE: Final = re.compile(r"vault:([^/#]+)/([^#]+)#(.+)")


class ValueUnavailable(Exception):
    """A value that is kept elsewhere cannot be had. The message says why, and has no value."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token along, to wherever it leads."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002  # the signature of the base class
        fp: IO[bytes],
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: HTTPMessage,  # noqa: ARG002
        newurl: str,
    ) -> None:
        fp.close()
        raise ValueUnavailable(f"Vault answers with a redirect to {newurl}; name that address with VAULT_ADDR")


def read_vault(reference: str, settings: Settings) -> str:
    """Return the value that `vault:MOUNT/PATH#FIELD` names. Blocks for some seconds. Raises ValueUnavailable."""
    match = _REFERENCE.fullmatch(reference)
    assert match is not None, "it was checked when it was stored"
    mount, path, field = match.groups()
    if settings.vault_addr is None or settings.vault_token_file is None:
        raise ValueUnavailable("the controller knows no Vault: set VAULT_ADDR and CI_VAULT_TOKEN_FILE")
    if urlsplit(settings.vault_addr).scheme not in ("http", "https"):
        raise ValueUnavailable("VAULT_ADDR is no http or https URL")
    url = f"{settings.vault_addr.rstrip('/')}/v1/{quote(mount)}/data/{quote(path)}"
    headers = {"X-Vault-Token": _token(settings.vault_token_file), "X-Vault-Request": "true"}
    if settings.vault_namespace is not None:
        headers["X-Vault-Namespace"] = settings.vault_namespace
    data = _answer(url, headers)
    if not isinstance(data, dict) or field not in data:
        raise ValueUnavailable(f"the secret {mount}/{path} in Vault has no field {field}")
    value = data[field]
    return value if isinstance(value, str) else json.dumps(value)


def _token(path: Path) -> str:
    try:
        token = path.read_text("utf-8").strip()
    except (OSError, ValueError) as exc:
        raise ValueUnavailable(f"the token for Vault cannot be read from {path}: {exc}") from exc
    if not token.isprintable() or not token:
        raise ValueUnavailable(f"the file {path} has no token for Vault")
    return token


def _answer(url: str, headers: dict[str, str]) -> Any:
    """Return the fields of a secret."""
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler())
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # its scheme is checked
    try:
        with opener.open(request, timeout=SECONDS) as response:
            return json.loads(response.read(_MOST_BYTES))["data"]["data"]
    except urllib.error.HTTPError as exc:
        with exc:
            raise ValueUnavailable(_why(exc.code, url)) from None
    except (OSError, HTTPException) as exc:
        raise ValueUnavailable(f"Vault at {url} cannot be reached: {exc}") from exc
    except (ValueError, KeyError, TypeError):
        raise ValueUnavailable(f"Vault at {url} does not answer as the KV engine, version 2, does") from None


def _why(status: int, url: str) -> str:
    about = {
        403: "the token in CI_VAULT_TOKEN_FILE has expired or may not read it",
        404: "there is no such secret, or its last version was deleted",
        429: "it takes no more requests at present",
        503: "it is sealed or in maintenance",
    }
    return f"Vault answers with {status} for {url}: {about.get(status, 'it says no more')}"
