"""The settings that hold containers back: their rights, their limits, their network and their images."""

from collections.abc import Iterable
from typing import Literal

from ci_common.configuration.declaration import DeclaredSettings, setting
from ci_common.parsing.capabilities import Capabilities
from ci_common.parsing.images import AllowedImages
from ci_common.parsing.networks import AllowedDestinations
from ci_common.parsing.portions import NumberPortion, SizePortion


class ConfinementSettings(DeclaredSettings):
    """What jobs, setups and services may do in their containers. The process runtime knows none of it."""

    capabilities: Capabilities = setting(
        "CI_CAPABILITIES",
        "AUDIT_WRITE,CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,NET_BIND_SERVICE,SETFCAP,SETGID,SETUID",
        "the capabilities that root has in a container; by default what the installation of packages needs; none: no "
        "capability",
        "names",
    )
    new_privileges: Literal["refuse", "allow"] = setting(
        "CI_NEW_PRIVILEGES",
        "refuse",
        "whether programs in a container may gain rights that their caller does not have, as sudo does",
    )
    default_memory: SizePortion = setting(
        "CI_DEFAULT_MEMORY", "75%", "the limits.memory of containers that name none", "bytes"
    )
    max_memory: SizePortion = setting(
        "CI_MAX_MEMORY", "90%", "the most memory of a container; a higher limits.memory is lowered to it", "bytes"
    )
    default_cpus: NumberPortion = setting(
        "CI_DEFAULT_CPUS", "100%", "the limits.cpus of containers that name none", "processors"
    )
    max_cpus: NumberPortion = setting(
        "CI_MAX_CPUS", "100%", "the most processors of a container; a higher limits.cpus is lowered to it", "processors"
    )
    default_pids: int = setting(
        "CI_DEFAULT_PIDS", 4096, "the limits.pids of containers that name none", "processes", gt=0
    )
    max_pids: int = setting(
        "CI_MAX_PIDS",
        16_384,
        "the most processes and threads of a container; a higher limits.pids is lowered to it",
        "processes",
        gt=0,
    )
    network: Literal["auto", "confined", "open"] = setting(
        "CI_NETWORK",
        "auto",
        "what containers reach; confined: the internet, but neither this machine nor private networks nor other jobs, "
        "and no job runs where that cannot be made sure; auto: the same, but jobs run with a warning where it cannot; "
        "open: all that the engine's own network reaches",
    )
    network_allow: AllowedDestinations = setting(
        "CI_NETWORK_ALLOW",
        "",
        "addresses that confined containers reach all the same, as in 10.1.2.3:443 or 10.1.0.0/16; servers of names, "
        "and the proxies that jobs get by CI_PASS_ENV, need not be named",
        "addresses",
    )
    allowed_images: AllowedImages = setting(
        "CI_ALLOWED_IMAGES",
        "",
        "the images that jobs and their services may use, besides what their project allows: python:3.*, "
        "ghcr.io/team/*; by default all",
        "patterns",
    )
    require_digest: Literal["no", "yes"] = setting(
        "CI_REQUIRE_DIGEST",
        "no",
        "whether images have to be named with their digest, as in python@sha256:…, which no registry can change; "
        "CI_DEFAULT_IMAGE then needs one, too",
    )

    def why_refused(self, images: Iterable[str]) -> str | None:
        """Return why a job may not use one of these images; None if it may use all."""
        images = tuple(images)
        if (image := self.allowed_images.first_refused(images)) is not None:
            return f"this server does not allow the image {image}; it allows {self.allowed_images} (CI_ALLOWED_IMAGES)"
        if self.require_digest == "no":
            return None
        unpinned = next((each for each in images if "@sha256:" not in each), None)
        if unpinned is None:
            return None
        return (
            f"the image {unpinned} has no digest, which this server demands (CI_REQUIRE_DIGEST): write it as "
            f"{unpinned}@sha256:<64 hexadecimal digits>; `docker image inspect` shows it as RepoDigests"
        )
