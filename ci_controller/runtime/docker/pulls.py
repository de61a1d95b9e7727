"""Pulling an image: progress as one line, and what each refusal means.

Nothing here shares one pull among callers that want the same image: the engine itself transfers a layer once, however
many ask for it, and goes on until the last of them has gone.
"""

import base64
import json
import os
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_common.runtime_faults import ImageFault, ImageInvalid, ImageNotFound, ImagePullFailed
from ci_controller.runtime.docker.engine import Engine, Refusal
from ci_controller.runtime.docker.images import check_reference
from ci_controller.runtime.protocol import Progress

REPORT_SECONDS = 1.0
_MEGABYTE = 1e6
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_KEY = "https://index.docker.io/v1/"
_NOT_FOUND = (
    "not found",
    "manifest unknown",
    "no matching manifest",
    "repository name not known",
    "denied",
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
)


async def pull_image(engine: Engine, image: str, progress: Progress) -> None:
    """Pull `image`, telling `progress` at most once a second. Raises ImageFault, RuntimeUnavailable."""
    check_reference(image)
    params = {"fromImage": image}
    if ":" not in image.rpartition("/")[2] and "@" not in image:
        params["tag"] = "latest"  # Without one the engine would pull every tag there is.
    headers = registry_header(image, _user_config())
    transfer = Transfer()
    reported = -REPORT_SECONDS
    try:
        async with aclosing(engine.stream("POST", "images/create", params=params, headers=headers)) as events:
            async for event in events:
                if "error" in event:
                    raise _fault(image, str(event["error"]), status=0)
                transfer.take(event)
                line = transfer.line()
                if line is not None and time.monotonic() - reported >= REPORT_SECONDS:
                    reported = time.monotonic()
                    progress(line)
    except Refusal as exc:
        raise _fault(image, str(exc), status=exc.status) from exc


def _fault(image: str, message: str, *, status: int) -> ImageFault:
    text = f"{image}: {message}"
    if status == 400 or "invalid reference format" in message:
        return ImageInvalid(text)
    if status == 404 or any(words in message.lower() for words in _NOT_FOUND):
        return ImageNotFound(text)
    return ImagePullFailed(text)


@dataclass(slots=True)
class _Layer:
    current: int = 0
    total: int = 0
    extracting: bool = False


class Transfer:
    """How far a pull has come, from the engine's events, each of which is about one layer."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take account of one event."""
        layer = self._layers.setdefault(str(event.get("id", "")), _Layer())
        detail = event.get("progressDetail") or {}
        match event.get("status"):
            case "Downloading":
                layer.current = int(detail.get("current") or 0)
                layer.total = max(int(detail.get("total") or 0), layer.current)
            case "Verifying Checksum" | "Download complete":
                layer.current = layer.total
            case "Extracting":
                layer.current, layer.extracting = layer.total, True
            case "Pull complete":
                layer.extracting = False

    def line(self) -> str | None:
        """Return a line as in `12.3 of 27.0 MB`, or None while the size of no layer is known."""
        current = sum(layer.current for layer in self._layers.values())
        total = sum(layer.total for layer in self._layers.values())
        if not total:
            return None
        extracting = any(layer.extracting for layer in self._layers.values())
        return f"{current / _MEGABYTE:.1f} of {total / _MEGABYTE:.1f} MB{', extracting' if extracting else ''}"


def registry_header(image: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the header that carries the user's credentials for the image's registry; empty where there are none.

    `config` is Docker's config file. Credential helpers are programs of the user's desktop, and are not run.
    """
    first, slash, _ = image.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else _HUB[0]
    keys = (_HUB_KEY, *_HUB) if registry in _HUB else (registry, f"https://{registry}", f"http://{registry}")
    entries = config.get("auths") or {}
    entry = next((entries[key] for key in keys if entries.get(key)), None)
    if entry is None:
        return {}
    credentials = {"serveraddress": _HUB_KEY if registry in _HUB else registry}
    if entry.get("identitytoken"):
        credentials["identitytoken"] = entry["identitytoken"]
    elif entry.get("auth"):
        name, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        credentials |= {"username": name, "password": password.rstrip("\0")}
    else:
        return {}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(credentials).encode()).decode()}


def _user_config() -> dict[str, Any]:
    directory = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        config = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
