"""Masks secrets in what a job shows of its request: variables that sound like secrets, and logins in URLs."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

MASK = "***"

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASS|PWD|CREDENTIAL|KEY|AUTH|COOKIE|SIGNATURE|JWT|BEARER|PRIVATE|DSN|WEBHOOK|CONN"
    r"|(?<![A-Z])PAT(?![A-Z])",  # Not PATH or PATTERN.
    re.IGNORECASE,
)
_MOST_URLS: Final = 1000
"""The most URLs that are searched for logins in one text. A text with more is masked completely."""
_SPACE = " \t\n\r"
_SHELL = _SPACE + "\"'`<>|"
"""Characters that end a URL in shell text. In a variable, which usually is one URL, only space does."""
_AUTHORITY_END = "/?#"


def masked_env(env: Mapping[str, Any]) -> dict[str, Any]:
    """Return `env` with masked values of variables that sound like secrets, and masked logins in URLs."""
    return {name: MASK if _SECRET_NAME.search(name) else _masked(value, _SPACE) for name, value in env.items()}


def masked_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec in its JSON form with masked secrets in its variables, and masked logins in its URLs."""
    shown = dict(spec)
    for name in ("command", "steps", "image", "health"):
        if name in spec:
            shown[name] = _masked(spec[name], _SHELL)
    if isinstance(spec.get("env"), Mapping):
        shown["env"] = masked_env(spec["env"])
    if isinstance(spec.get("services"), Mapping):
        shown["services"] = {
            name: masked_spec(service) if isinstance(service, Mapping) else service
            for name, service in spec["services"].items()
        }
    if isinstance(spec.get("steps"), list):
        shown["steps"] = [_masked_step(step) for step in shown["steps"]]
    return shown


def _masked_step(step: Any) -> Any:
    if isinstance(step, dict) and isinstance(step.get("env"), Mapping):
        return {**step, "env": masked_env(step["env"])}
    return step


def _masked(value: Any, url_ends: str) -> Any:
    """Return a JSON value with the logins in the URLs of all its texts masked."""
    match value:
        case str():
            return _masked_text(value, url_ends)
        case list():
            return [_masked(item, url_ends) for item in value]
        case dict():
            return {name: _masked(item, url_ends) for name, item in value.items()}
    return value


def _masked_text(text: str, url_ends: str) -> str:
    if "://" not in text:
        return text
    start, *rest = text.split("://", _MOST_URLS + 1)
    if len(rest) > _MOST_URLS:
        return MASK
    return "://".join([start, *(_without_login(part, url_ends) for part in _joined(rest, url_ends))])


def _joined(parts: list[str], url_ends: str) -> Iterator[str]:
    """Yield the text after each `://` that begins a URL. A password may contain `://` too."""
    login: list[str] = []
    for part in parts:
        login.append(part)
        if not _may_be_within_login(part, url_ends):
            yield "://".join(login)
            login = []
    if login:
        yield "://".join(login)


def _may_be_within_login(part: str, url_ends: str) -> bool:
    if "@" in part or _first(part, url_ends) < len(part):
        return False
    authority = part[: _first(part, _AUTHORITY_END)]
    return authority == part or _has_no_port(authority, part)


def _without_login(behind: str, url_ends: str) -> str:
    """Return the text after `://` with its login masked, if it has one.

    A password may have a `/` or an `@` that should have been escaped, so a login with a colon ends at the last `@` of
    the URL: masking a part of the address is better than showing a part of the password.
    """
    url = behind[: _first(behind, url_ends)]
    authority = url[: _first(url, _AUTHORITY_END)]
    if ":" in authority.rpartition("@")[0] or _has_no_port(authority, url):
        login_end = url.rfind("@")
    else:
        login_end = authority.rfind("@")
    return behind if login_end < 0 else MASK + behind[login_end:]


def _first(text: str, characters: str) -> int:
    """Return the index of the first of these characters in `text`, or the length of `text`."""
    return min((found for character in characters if (found := text.find(character)) >= 0), default=len(text))


def _has_no_port(authority: str, url: str) -> bool:
    """Return whether the text after a colon is part of a password, like `pa` in `user:pa/ss@host`, and not a port."""
    if "@" in authority or ":" not in authority or authority.endswith("]"):
        return False
    port = authority.rpartition(":")[2]
    return not port.isdecimal() or not url[: url.rfind("@") + 1].endswith("/@")
