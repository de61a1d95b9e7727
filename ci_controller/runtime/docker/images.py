"""What the engine knows of an image, and what its files say."""

import asyncio
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ci_common.attempts.outcomes import UsedImage
from ci_common.runtime_faults import ImageInvalid, ImageNotFound, RuntimeUnavailable
from ci_common.spec_parts.values import ImageReference
from ci_common.times import uptime
from ci_controller.runtime.docker.certificates import SYSTEM_BUNDLE
from ci_controller.runtime.docker.containers import BASE, SETUP, helper_config
from ci_controller.runtime.docker.engine import Absent, Engine, Traits
from ci_controller.runtime.docker.readiness import check_of_image

LATELY_SECONDS = 1.0
"""How long what the engine said of a name is good enough for jobs that start at the same time."""
_REFERENCE: TypeAdapter[str] = TypeAdapter(ImageReference)


def check_reference(image: str) -> None:
    """Raise ImageInvalid where `image` is no reference to an image."""
    try:
        _REFERENCE.validate_python(image)
    except ValidationError as exc:
        raise ImageInvalid(exc.errors()[0]["msg"].removeprefix("Value error, ")) from exc


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What matters to us of one image."""

    identity: str
    """The image's id, which says all of its content."""
    runs_as_root: bool
    has_shell: bool
    has_certificates: bool
    health: tuple[str, ...] = ()
    """The command that finds out whether a service of this image is ready; empty if the image names none."""
    hidden: tuple[str, ...] = ()
    """The paths in the run directory that volumes of the image would hide."""
    has_volumes: bool = False
    """Whether some of what a container writes is not in an image that is made of it."""
    size: int = 0
    """The bytes of all its layers."""
    digests: tuple[str, ...] = ()
    """What registries have it by, as in `name@sha256:…`."""

    def used_as(self, image: str) -> UsedImage:
        """Return what is recorded of an attempt that names it `image`."""
        repository = image.partition("@")[0]
        head, slash, tail = repository.rpartition("/")
        name = f"{head}{slash}{tail.partition(':')[0]}"
        fitting = [digest for digest in self.digests if digest.rpartition("@")[0].endswith(name)]
        return UsedImage(self.identity, next(iter(fitting or self.digests), None))


def hidden_by(volumes: Iterable[str]) -> tuple[str, ...]:
    """Return those of an image's volumes that lie in the run directory: the engine mounts an empty one over it.

    One at the run directory itself gives way to ours.
    """
    paths = (PurePosixPath(posixpath.normpath(f"/{volume.lstrip('/')}")) for volume in volumes)
    return tuple(sorted(str(path) for path in paths if PurePosixPath(BASE) in path.parents))


class Images:
    """The engine's images. What an image holds is looked up once, for its id says all of its content."""

    def __init__(self, engine: Engine, installation_id: str) -> None:
        self._engine = engine
        self._installation_id = installation_id
        self._facts: dict[str, ImageFacts] = {}
        self._asked: dict[str, tuple[float, asyncio.Future[dict[str, Any]]]] = {}
        """What the engine says of a name, and when it was asked, for as long as LATELY_SECONDS."""
        self._probing = asyncio.Lock()

    async def exists(self, image: str) -> bool:
        """Return whether the engine has the image; it is asked each time."""
        try:
            check_reference(image)
            inspected = await self._inspect(image, lately=False)
        except (Absent, ImageInvalid):
            return False
        # Prepared environments belong to one project each, so no job may name one as its image.
        return SETUP not in ((inspected.get("Config") or {}).get("Labels") or {})

    async def has_prepared(self, reference: str, image: str, traits: Traits) -> bool:
        """Return whether the engine has the prepared environment, which was made from `image`, and note its facts."""
        try:
            identity: str = (await self._inspect(reference, lately=False))["Id"]
            if identity not in self._facts:
                base = await self.facts(image, traits, lately=True)
                self._facts[identity] = replace(base, identity=identity)
        except (Absent, ImageNotFound):
            return False
        return True

    async def _inspect(self, image: str, *, lately: bool) -> dict[str, Any]:
        now = uptime()
        self._asked = {name: asked for name, asked in self._asked.items() if now - asked[0] < LATELY_SECONDS}
        if not lately or image not in self._asked:
            self._asked[image] = now, asyncio.ensure_future(self._ask(image))
            # The caller that waits may be cancelled, and there may be no other.
            self._asked[image][1].add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        _, answer = self._asked[image]
        return await asyncio.shield(answer)

    async def _ask(self, image: str) -> dict[str, Any]:
        try:
            async with self._engine.call() as docker:
                inspected: dict[str, Any] = await docker.images.inspect(image)
        except BaseException:
            self._asked.pop(image, None)
            raise
        return inspected

    async def facts(self, image: str, traits: Traits, *, lately: bool = False) -> ImageFacts:
        """Return what the image holds, or with `lately` what that of this name held a moment ago.

        Raises ImageNotFound, ImageInvalid.
        """
        check_reference(image)
        try:
            inspected = await self._inspect(image, lately=lately)
        except Absent as exc:
            raise ImageNotFound(f"the engine has no image {image}") from exc
        identity: str = inspected["Id"]
        async with self._probing:
            if identity not in self._facts:
                config = inspected.get("Config") or {}
                user = (config.get("User") or "root").partition(":")[0]
                facts = await self._probe(identity, user in ("root", "0"), traits)
                volumes = config.get("Volumes") or ()
                self._facts[identity] = replace(
                    facts,
                    health=check_of_image(config),
                    hidden=hidden_by(volumes),
                    has_volumes=bool(volumes),
                    size=inspected.get("Size", 0),
                    digests=tuple(inspected.get("RepoDigests") or ()),
                )
        return self._facts[identity]

    async def _probe(self, identity: str, runs_as_root: bool, traits: Traits) -> ImageFacts:
        """Look at the files of a container that is never started.

        An image without a shell could not be told later: the init process starts, and ends with 127 like many a job.
        """
        config = helper_config(identity, self._installation_id, ["/bin/sh"], [], traits)
        async with self._engine.helper(config) as probe:
            return ImageFacts(
                identity=identity,
                runs_as_root=runs_as_root,
                has_shell=await self._has_file(probe, "/bin/sh"),
                has_certificates=await self._has_file(probe, SYSTEM_BUNDLE),
            )

    async def _has_file(self, container: str, path: str) -> bool:
        try:
            async with self._engine.call() as docker:
                await docker.containers.container(container).get_archive(path)
        except Absent:
            await self._check_presence(container)
            return False
        return True

    async def _check_presence(self, container: str) -> None:
        """The engine gives one answer where the file is missing and where the container is."""
        try:
            async with self._engine.call() as docker:
                await docker.containers.container(container).show()
        except Absent as exc:
            raise RuntimeUnavailable("the container that was to show an image's files was removed in between") from exc
