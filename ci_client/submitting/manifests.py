"""What an upload by manifest begins with: the change since the last one, and the frames that the server then wants."""

from collections.abc import Mapping
from typing import Any

from ci_client.errors import AnswerNotUnderstood
from ci_client.packing.frames import Begun, frames_to_send
from ci_client.packing.scan import Project
from ci_common.manifests.entries import changes


def first_text(project: Project, server_url: str, name: str) -> tuple[str, str | None]:
    """Return what an upload to a server begins with, as the project of that name, and the job to whose upload it adds.

    That is what has changed since, or the whole manifest if there is no such job.
    """
    base = project.memory.base(_key(server_url, name))
    if base is None:
        return project.manifest, None
    if base.manifest_id == project.manifest_id:
        return "", base.job_id
    before = project.memory.manifest_of(base)
    if before is None:
        return project.manifest, None
    return changes(before, project.manifest), base.job_id


def begun_upload(project: Project, answer: Mapping[str, Any]) -> Begun:
    """Return the upload that the server has begun to receive, as it says. Raises AnswerNotUnderstood."""
    try:
        ranges = [range(first, last + 1) for first, last in answer["missing"]]
        frames = frames_to_send([project.entries[number] for numbers in ranges for number in numbers])
    except (KeyError, IndexError, TypeError, ValueError) as exc:
        raise AnswerNotUnderstood(f"the server does not say which files it wants: {exc}") from exc
    if len(frames) != answer.get("frames"):
        raise AnswerNotUnderstood(f"the server counts other frames than the {len(frames)} that there are")
    return Begun(f"/uploads/{answer['upload_id']}", frames)


def remember(project: Project, server_url: str, name: str, job_id: str) -> None:
    """Remember that a directory has been uploaded for a job, as the base of its next upload."""
    project.memory.remember_base(_key(server_url, name), job_id, project.manifest)


def _key(server_url: str, name: str) -> str:
    # A socket has another path each time, and the same installation behind it.
    server = "unix:" if server_url.startswith("unix:") else server_url
    return f"{server} {name}"
