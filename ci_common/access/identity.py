"""Who sends a request, and what they may do. `SCOPES_OF` says it for each role, and each endpoint names its scope."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final


class Scope(StrEnum):
    """A permission. Each endpoint of the API needs at most one."""

    JOBS_READ = "jobs:read"
    """See jobs, their logs, streams, tests and records, and the caches and environments that they use."""
    JOBS_WRITE = "jobs:write"
    """Submit, retry, verify, cancel and delete jobs."""
    JOBS_CLEANUP = "jobs:cleanup"
    """Delete many completed jobs at once."""
    ARTIFACTS_READ = "artifacts:read"
    """See and download the artifacts of jobs."""
    CACHES_WRITE = "caches:write"
    """Remove caches and prepared environments."""
    PROJECTS_READ = "projects:read"
    """See projects, their settings and members."""
    PROJECTS_ADMIN = "projects:admin"
    """Change projects and their members. Creating and removing projects needs it for all of them."""
    SECRETS_READ = "secrets:read"
    """See the names of secrets. No scope shows a value."""
    SECRETS_WRITE = "secrets:write"
    """Set and remove secrets."""
    SECRETS_USE = "secrets:use"
    """Submit jobs that are given secrets."""
    AUDIT_READ = "audit:read"
    """See the audit: who did what, and what was refused."""
    METRICS_READ = "metrics:read"
    """See the metrics and the pool of the installation."""
    KEYS_ADMIN = "keys:admin"
    """Make, list, revoke and rotate keys that may do no more than the own one."""
    KEYS_OWN = "keys:own"
    """See and rotate the own key. Every key has it."""


class Role(StrEnum):
    """A set of scopes for people."""

    MEMBER = "member"
    """Nothing of its own: what memberships of projects give."""
    VIEWER = "viewer"
    DEVELOPER = "developer"
    OPERATOR = "operator"
    ADMIN = "admin"


_VIEWER: Final = frozenset(
    {Scope.JOBS_READ, Scope.ARTIFACTS_READ, Scope.PROJECTS_READ, Scope.METRICS_READ, Scope.KEYS_OWN}
)
_DEVELOPER: Final = _VIEWER | {Scope.JOBS_WRITE, Scope.SECRETS_READ, Scope.SECRETS_USE}
_OPERATOR: Final = _DEVELOPER | {Scope.JOBS_CLEANUP, Scope.CACHES_WRITE, Scope.SECRETS_WRITE}

SCOPES_OF: Final[dict[Role, frozenset[Scope]]] = {
    Role.MEMBER: frozenset({Scope.KEYS_OWN}),
    Role.VIEWER: _VIEWER,
    Role.DEVELOPER: _DEVELOPER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: frozenset(Scope),
}
"""What each role may do. docs/security.md has it as a table, and the tests of who may what are generated from it."""


_REMEMBERED: Final = 1024

_OF_THE_TRUSTED: Final = frozenset(
    {Scope.SECRETS_USE, Scope.SECRETS_WRITE, Scope.CACHES_WRITE, Scope.KEYS_ADMIN, Scope.PROJECTS_ADMIN}
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A sender of requests, with the permissions it has."""

    name: str
    """Whose jobs, uploads and caches are its own."""
    scopes: frozenset[Scope]
    projects: frozenset[str] | None = None
    """The projects in which the scopes hold; None for all, and for jobs that belong to no project."""
    key_id: str | None = None
    """The key that the request was sent with."""
    takes_memberships: bool = False
    """Whether the memberships of its name count."""
    memberships: tuple[tuple[str, Role], ...] = ()
    """The projects in which it has a role by membership, and these roles; its scopes there are those of both."""
    whole: "Identity | None" = None
    """Of one that `within` returned: the sender with all that it may do."""
    expires: datetime | None = None
    """Until when the token is accepted that the request was sent with."""
    is_trusted: bool = True
    """Whether its jobs may be given secrets. False for a workload that may run what a stranger has written."""

    @property
    def role(self) -> Role | None:
        """The role that has just its scopes, if memberships count as they do for one; else None."""
        roles = (role for role, scopes in SCOPES_OF.items() if scopes | {Scope.KEYS_OWN} == self.scopes)
        return next(roles, None) if self.takes_memberships else None

    def sees(self, project: str | None) -> bool:
        """Return whether what belongs to `project`, or to none, is there for this sender."""
        return self.projects is None or project in self.projects

    def with_memberships(self, memberships: tuple[tuple[str, Role], ...]) -> "Identity":
        """Return the sender with the memberships of its name, as far as they count."""
        if not self.takes_memberships:
            return self
        found = tuple((project, role) for project, role in memberships if self.sees(project))
        return replace(self, memberships=found) if found else self

    def distrusted(self) -> "Identity":
        """Return the sender without what would give its jobs secrets, or another key or member more than itself."""
        return replace(self, scopes=self.scopes - _OF_THE_TRUSTED, takes_memberships=False, is_trusted=False)

    def within(self, scope: Scope) -> "Identity | None":
        """Return the sender with the projects in which it has a scope; None if it has it in none.

        `projects` is None if it has the scope in all projects and for what belongs to none.
        """
        return _within(self, scope)

    def scopes_in(self, project: str | None) -> frozenset[Scope]:
        """Return all scopes that the sender has in a project, or for what belongs to none."""
        sender = self.whole or self
        own = sender.scopes if sender.sees(project) else frozenset()
        return own.union(*(SCOPES_OF[role] for name, role in sender.memberships if name == project))

    def scopes_throughout(self, projects: frozenset[str] | None) -> frozenset[Scope]:
        """Return the scopes that the sender has in each of these projects; None: in all, and for what is in none."""
        if projects is None:
            sender = self.whole or self
            return sender.scopes if sender.projects is None else frozenset()
        if not projects:
            return frozenset()
        return frozenset(Scope).intersection(*(self.scopes_in(project) for project in projects))


@lru_cache(_REMEMBERED)
def _within(sender: Identity, scope: Scope) -> Identity | None:
    """Return what `Identity.within` does, for each request: the keys and scopes in use are few."""
    has_scope = scope in sender.scopes
    if scope is Scope.KEYS_OWN or (has_scope and sender.projects is None):
        return sender if has_scope else None
    own = (sender.projects or frozenset()) if has_scope else frozenset()
    projects = own | {project for project, role in sender.memberships if scope in SCOPES_OF[role]}
    return replace(sender, projects=projects, whole=sender) if projects else None


LOCAL = Identity("local", frozenset(Scope) - {Scope.KEYS_ADMIN, Scope.KEYS_OWN})
"""The identity of every request while the server has no keys. It may do everything but make the first key."""
ANYONE = Identity("anyone", frozenset())
"""The identity of requests to endpoints that need no scope."""
