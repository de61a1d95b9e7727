"""The file that `CI_OIDC_CONFIG` names: which issuers are trusted, and what their tokens may do here."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ci_common.access.identity import SCOPES_OF, Identity, Role, Scope
from ci_common.errors import SettingsError
from ci_common.parsing.hosts import canonical_host
from ci_common.parsing.models import StrictModel
from ci_common.parsing.text import shown
from ci_common.parsing.values import Line
from ci_server.http.application import is_loopback

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
"""The signatures that may be accepted. All have a public key, so what verifies a token cannot make one."""
_DEFAULT_ALGORITHMS: Final = ("RS256", "ES256")
_LONGEST_NAME: Final = 200
_LARGEST_FILE: Final = 1024**2

Claims = Mapping[str, Any]


def _url(value: str) -> str:
    parts = urlsplit(value)
    is_local = parts.scheme == "http" and is_loopback(canonical_host(parts.hostname or "") or "")
    if (parts.scheme != "https" and not is_local) or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{shown(value)} is not the URL of an issuer; write it as in https://issuer.example.org")
    return value


def _algorithm(value: str) -> str:
    if value not in ALGORITHMS:
        raise ValueError(f"{shown(value)} is not accepted; choose from {', '.join(ALGORITHMS)}")
    return value


def _template(value: str) -> str:
    try:
        parts = list(Formatter().parse(value))
    except ValueError as exc:
        raise ValueError(f"{shown(value)} is not a template: {exc}; name a claim in braces, as in {{sub}}") from None
    if any(form or change or name == "" for _, name, form, change in parts if name is not None):
        raise ValueError(f"{shown(value)} is not a template; name a claim in braces, as in {{sub}}")
    return value


def _reference(value: str) -> str:
    if not value.startswith(("env:", "file:/")):
        raise ValueError(
            "a secret does not stand in this file: name where it is, as in file:/etc/ci/client-secret or "
            "env:CI_CLIENT_SECRET"
        )
    return value


Url = Annotated[Line, AfterValidator(_url)]
Algorithm = Annotated[str, AfterValidator(_algorithm)]
Template = Annotated[Line, Field(min_length=1, max_length=_LONGEST_NAME), AfterValidator(_template)]
Pattern = Annotated[Line, Field(min_length=1, max_length=1000)]


_UNTRUSTED: Final[tuple[Mapping[str, Pattern | tuple[Pattern, ...]], ...]] = (
    # GitHub: runs for pull requests, and those that others cause and that often check out what they propose.
    {"event_name": ("pull_request*", "issue_comment", "workflow_run")},
    # GitLab: pipelines for merge requests, also those of forks that run in the project itself.
    {"pipeline_source": ("merge_request_event", "external_pull_request_event")},
)


class Grant(StrictModel):
    """What a token may do whose claims match."""

    claims: Mapping[str, Pattern | tuple[Pattern, ...]] = Field(default_factory=dict)
    """The claims that are needed, each with one value, or with several of which one is needed. `*` stands for any
    characters. A claim with several values, such as groups, needs one that matches."""
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    projects: tuple[Template, ...] | None = None
    """The projects in which it holds; None for all of them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.role is None) == (not self.scopes):
            raise ValueError("a grant has a role or scopes: one of both")
        return self

    def matches(self, claims: Claims) -> bool:
        """Return whether the claims have all that is needed."""
        return _match(self.claims, claims)


class Issuer(StrictModel):
    """An issuer whose tokens are accepted."""

    issuer: Url
    audience: Annotated[Line, Field(min_length=1, max_length=1000)]
    """What the claim `aud` must have: a name of this server, so that tokens for other services are refused."""
    owner: Template = "{sub}"
    """Whose jobs its jobs are, from claims."""
    keys_url: Url | None = None
    """Where the keys are, if the issuer has no discovery document."""
    client_id: Annotated[Line, Field(min_length=1, max_length=1000)] | None = None
    """The name of this product at the issuer, with which people sign in; None where none do."""
    client_secret: Annotated[Line, AfterValidator(_reference)] | None = None
    """Where the secret is with which a browser's code is exchanged; None for a client that has none."""
    request: tuple[Line, ...] = ("openid", "profile", "email")
    """The scopes that the issuer is asked for when people sign in."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = _DEFAULT_ALGORITHMS
    untrusted: tuple[Mapping[str, Pattern | tuple[Pattern, ...]], ...] = _UNTRUSTED
    """Claims of workloads that may run what a stranger has written: one of these has to match."""
    grants: Annotated[tuple[Grant, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(not claims for claims in self.untrusted):
            raise ValueError("an entry of untrusted names no claim; name one, or write untrusted = [] to trust all")
        if self.client_secret is not None and self.client_id is None:
            raise ValueError("client_secret is the secret of a client: name it in client_id")
        return self

    def identity(self, claims: Claims) -> Identity | None:
        """Return the identity by the first grant that matches, or None. Raises ValueError if a claim is missing."""
        grant = next((each for each in self.grants if each.matches(claims)), None)
        if grant is None:
            return None
        scopes = grant.scopes if grant.role is None else SCOPES_OF[grant.role]
        projects = None if grant.projects is None else frozenset(_filled(each, claims) for each in grant.projects)
        takes = grant.role is Role.MEMBER or (grant.role is not None and projects is None)
        name = _filled(self.owner, claims)
        identity = Identity(name, scopes | {Scope.KEYS_OWN}, projects, takes_memberships=takes)
        return identity.distrusted() if any(_match(each, claims) for each in self.untrusted) else identity


class OidcConfig(StrictModel):
    """The whole file."""

    issuers: Annotated[tuple[Issuer, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        urls = [each.issuer for each in self.issuers]
        if len(set(urls)) < len(urls):
            raise ValueError("an issuer is there twice; give one issuer several grants instead")
        return self


def read_config(path: Path) -> OidcConfig:
    """Return what the file says. Raises SettingsError, which says what would be right."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE).decode()
        return OidcConfig.model_validate(tomllib.loads(text))
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg'].removeprefix('Value error, ')}"
            for each in exc.errors()
        )
        raise SettingsError(f"CI_OIDC_CONFIG, {path}: {problems}") from None
    except OSError as exc:
        raise SettingsError(f"CI_OIDC_CONFIG: {path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise SettingsError(f"CI_OIDC_CONFIG: {path} is not valid TOML: {exc}") from exc


def client_secret_of(issuer: Issuer) -> str | None:
    """Return the secret of the client at an issuer, or None if it has none. Raises SettingsError."""
    if issuer.client_secret is None:
        return None
    kind, _, place = issuer.client_secret.partition(":")
    try:
        text = os.environ.get(place, "") if kind == "env" else Path(place).read_text()
    except (OSError, ValueError) as exc:
        raise SettingsError(f"CI_OIDC_CONFIG: client_secret of {issuer.issuer} cannot be read: {exc}") from exc
    if not text.strip():
        raise SettingsError(f"CI_OIDC_CONFIG: client_secret of {issuer.issuer}, {issuer.client_secret}, is empty")
    return text.strip()


def _match(wanted: Mapping[str, Pattern | tuple[Pattern, ...]], claims: Claims) -> bool:
    return all(_matches(patterns, claims.get(name)) for name, patterns in wanted.items())


def _matches(wanted: str | tuple[str, ...], found: object) -> bool:
    values = found if isinstance(found, list) else [found]
    patterns = wanted if isinstance(wanted, tuple) else (wanted,)
    texts = [text for text in map(_text, values) if text is not None]
    return any(_compiled(pattern).fullmatch(text) for pattern in patterns for text in texts)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _filled(template: str, claims: Claims) -> str:
    parts = []
    for literal, name, _, _ in Formatter().parse(template):
        parts.append(literal)
        if name is not None:
            value = _text(claims.get(name))
            if not value or not value.isprintable():
                raise ValueError(f"it has no claim {name!r} of printable text")
            parts.append(value)
    filled = "".join(parts)
    if len(filled) > _LONGEST_NAME:
        raise ValueError(f"{shown(filled)} is longer than {_LONGEST_NAME} characters")
    return filled
