"""Failures of what runs jobs, and the reason that each gives a job which ends because of it."""

from typing import ClassVar

from ci_common.errors import CiError
from ci_common.jobs import ReasonCode


class RuntimeFault(CiError):
    """A runtime reported a failure. A job that ends because of it gets `reason_code` as its reason."""

    reason_code: ClassVar[ReasonCode] = ReasonCode.INTERNAL_ERROR


class RuntimeUnavailable(RuntimeFault):
    """The runtime cannot be reached. Nothing is known about any container; try again later."""

    reason_code = ReasonCode.ENGINE_UNAVAILABLE


class NoNetwork(RuntimeUnavailable):
    """The engine has no addresses left for another network. It has some again once other jobs have ended."""

    reason_code = ReasonCode.WAITING_FOR_SERVICES


class ImageFault(RuntimeFault):
    """The image is not available."""


class ImageNotFound(ImageFault):
    """Neither this machine nor the registry has the image, or the registry denies it."""

    reason_code = ReasonCode.IMAGE_NOT_FOUND


class ImageInvalid(ImageFault):
    """The text is not an image reference."""

    reason_code = ReasonCode.IMAGE_INVALID


class ImagePullFailed(ImageFault):
    """The registry could not be reached, or broke off. Another attempt may succeed."""

    reason_code = ReasonCode.IMAGE_PULL_FAILED


class StartFault(RuntimeFault):
    """The container cannot be created or started, and another attempt will not help."""

    reason_code = ReasonCode.START_FAILED


class ImageWithoutShell(StartFault):
    """The image has no /bin/sh, which the script of every job needs."""

    reason_code = ReasonCode.IMAGE_WITHOUT_SHELL


class ServiceFault(StartFault):
    """A service of the job has ended, or was not ready in time. `str()` says which, and has the end of its log."""

    reason_code = ReasonCode.SERVICE_FAILED


class SetupFailed(StartFault):
    """A setup failed when it ran apart from its job, or its outcome cannot be kept. No job fails because of it."""


class LimitUnenforceable(StartFault):
    """The runtime or the kernel cannot enforce a limit of the job."""

    reason_code = ReasonCode.LIMIT_UNENFORCEABLE
