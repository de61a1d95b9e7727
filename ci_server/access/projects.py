"""Projects: whether the sender of a request may put something into one, and what the project asks of a job."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ci_common.access.identity import Identity
from ci_common.jobs import NewJob
from ci_common.parsing.text import shown
from ci_common.quotas import Ceiling, Quota
from ci_common.settings import Settings
from ci_common.sharing.projects import Project, ceilings_of, images_in
from ci_common.spec import Spec
from ci_persistence.stores.access.projects import ProjectStore
from ci_server.access.remembering import Memory
from ci_server.detection.projects import ProjectDefaults
from ci_server.http.refusals import ImageRefused, ProjectRefused

KNOWN_SECONDS: Final = 2.0
_MOST_KNOWN: Final = 1024
_MOST_NAMED: Final = 10
_OF_SUBMISSIONS: Final = (Quota.QUEUED, Quota.STORED)


def only_project(identity: Identity) -> str | None:
    """Return the project of what `identity` makes and names no project for; None if that may be none, or any."""
    return next(iter(identity.projects)) if identity.projects is not None and len(identity.projects) == 1 else None


def project_for(identity: Identity, wanted: str | None) -> str | None:
    """Return the project of what `identity` makes: the wanted one, or the only one that it has.

    Raises ProjectRefused for one that it does not have, and if it has several and wants none.
    """
    if identity.projects is None:
        return wanted
    named = ", ".join(sorted(identity.projects))
    if wanted is None:
        if len(identity.projects) == 1:
            return next(iter(identity.projects))
        raise ProjectRefused(f"the key holds for the projects {named}: name one of them as the job's project")
    if wanted not in identity.projects:
        raise ProjectRefused(f"the key does not hold for the project {shown(wanted)}, only for {named}")
    return wanted


class Projects:
    """The projects that were created, and what they ask of jobs.

    What the database says of a project is believed for KNOWN_SECONDS. For one event loop.
    """

    def __init__(self, settings: Settings, store: ProjectStore) -> None:
        self._settings = settings
        self._store = store
        self._known: Memory[Project | None] = Memory(_MOST_KNOWN)
        self._all: Memory[list[Project]] = Memory(1)

    async def get(self, name: str) -> Project | None:
        """Return the project with this name; None if none was created. Raises Unavailable."""
        return await self._known.get(name, lambda: self._store.get(name), KNOWN_SECONDS)

    def forget(self, name: str) -> None:
        """Ask the database about a project at its next use, since it has just been changed."""
        self._known.forget(name)
        self._all.forget_all()

    async def project_for(self, identity: Identity, wanted: str | None) -> str | None:
        """Return the project of what `identity` makes. Raises ProjectRefused, also for one that is not created."""
        name = project_for(identity, wanted)
        if self._settings.projects == "declared" and name is not None and await self.get(name) is None:
            raise ProjectRefused(
                f"there is no project {shown(name)}, and jobs may only name projects that were created "
                f"(CI_PROJECTS=declared): create it with `ci projects create {name}`"
            )
        return name

    async def ceilings(
        self, name: str | None, owner: str, quotas: Iterable[Quota] = _OF_SUBMISSIONS
    ) -> tuple[Ceiling, ...]:
        """Return the limits that `owner` has to keep in a project, or in none; by default those of a submission.

        Raises Unavailable.
        """
        project = None if name is None else await self.get(name)
        return ceilings_of(self._settings, quotas, name=name, project=project, owner=owner)

    async def admitted(self, identity: Identity, job: NewJob) -> NewJob:
        """Return a new job as one of `identity`, in a project that allows it. Raises ProjectRefused, ImageRefused."""
        job = replace(job, owner=identity.name, project=await self.project_for(identity, job.project))
        await self.check_images(job)
        return job

    async def check_images(self, job: NewJob) -> None:
        """Raise ImageRefused if the server, or the job's project, does not allow an image that it needs."""
        if (why := self._settings.why_refused(images_in(job.image, job.plan))) is not None:
            raise ImageRefused(why)
        project = None if job.project is None else await self.get(job.project)
        if project is None or (image := project.refused_image(images_in(job.image, job.plan))) is None:
            return
        allowed = project.settings.images or []
        named = ", ".join(allowed[:_MOST_NAMED]) + (", …" if len(allowed) > _MOST_NAMED else "")
        raise ImageRefused(
            f"the project {shown(project.name)} does not allow the image {image}; it allows {named or 'none'}"
        )

    async def defaults(self, identity: Identity, wanted: str | None, *, has_file: bool) -> ProjectDefaults:
        """Return the defaults that may hold for a job. Raises Unavailable.

        `wanted` is the project that the request names; with `has_file`, the project's `ci.yaml` may name one if the
        request does not.
        """
        only = only_project(identity)
        if wanted is not None or not has_file:
            project = None if (name := wanted or only) is None else await self.get(name)
            candidates = [] if project is None else [project]
        else:
            candidates = await self._all.get("", self._store.list, KNOWN_SECONDS)
        specs: dict[str, Spec] = {
            each.name: each.settings.defaults
            for each in candidates
            if each.settings.defaults is not None and identity.sees(each.name)
        }
        return ProjectDefaults(specs, only)
