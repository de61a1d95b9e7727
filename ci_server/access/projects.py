"""What belongs to a project, and whether the sender of a request may put something there."""

from dataclasses import replace

from ci_common.identity import Identity
from ci_common.jobs import NewJob
from ci_common.parsing.text import shown
from ci_server.http.refusals import ProjectRefused


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


def owned(identity: Identity, job: NewJob) -> NewJob:
    """Return a new job as one of `identity`, in a project that it has. Raises ProjectRefused."""
    return replace(job, owner=identity.name, project=project_for(identity, job.project))
