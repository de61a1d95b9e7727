"""Judges the answer of a probe container: whether limits hold, and files, FIFOs and wake-ups work across."""

from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeFault
from ci_controller.runtime.docker.containers import OWN_PROCESSES
from ci_controller.runtime.docker.engine import Refusal
from ci_controller.runtime.docker.probing import ANSWER_SECONDS, LIMITS, Probe

NAMES = ("limits in a container", "files in a container")


def examine_probe(seen: Probe | RuntimeFault | OSError, about_image: Finding, data: DataDirectory) -> list[Finding]:
    """Judge the answer. `about_image` is the finding on the image, which a container that cannot start changes."""
    if isinstance(seen, Probe):
        return [about_image, _limits(seen), _files(seen, data)]
    if isinstance(seen, Refusal) and "/bin/sh" in str(seen):
        message = f"{about_image.message}: it has no /bin/sh, which every job needs"
        image = Finding("default image", False, message, "export CI_DEFAULT_IMAGE=python:3.12-slim")
        return [image, *(Finding(name, None, "not looked at, since the image has no shell") for name in NAMES)]
    message = f"a container with a directory of {data.path} cannot be started: {seen}"
    remedy = (
        "the engine must run on this machine and see this directory: name another with CI_DATA_DIR "
        "(for an engine in a container or installed by snap, one below the home directory)"
    )
    return [about_image, Finding(NAMES[0], None, "not looked at"), Finding(NAMES[1], False, message, remedy)]


def _limits(seen: Probe) -> Finding:
    name = NAMES[0]
    if not seen.answered:
        return Finding(name, None, "not looked at, since the container's answer did not come")
    assert LIMITS.pids is not None, "the probe has one"
    pairs = {
        "memory": (seen.memory, LIMITS.memory),
        "pids": (seen.pids, LIMITS.pids + OWN_PROCESSES),
        "cpus": (seen.cpus, LIMITS.cpus),
    }
    wrong = [f"{limit}: {found}, not {wanted}" for limit, (found, wanted) in pairs.items() if found != wanted]
    if wrong:
        remedy = "see what the engine cannot do: docker info (at the end); its cgroup driver must be that of the system"
        return Finding(name, None, f"a container is not held to its limits: {'; '.join(wrong)}", remedy)
    return Finding(name, True, f"{', '.join(pairs)} hold")


def _files(seen: Probe, data: DataDirectory) -> Finding:
    name = NAMES[1]
    if not seen.answered:
        message = (
            f"a container did not answer through {data.path} within {ANSWER_SECONDS:g} s: it sees another directory"
        )
        remedy = "run ci on the engine's own machine and kernel, or name another directory with CI_DATA_DIR"
        return Finding(name, False, message, remedy)
    if not (seen.reads_ours and seen.through_fifo):
        message = f"what is written to {data.path} here does not reach a container"
        return Finding(name, False, message, "put CI_DATA_DIR on a local disk of the engine's machine")
    if not seen.notified:
        message = "inotify does not report what containers write: changes are seen late"
        return Finding(name, None, message, "put CI_DATA_DIR on a local disk of the engine's machine")
    return Finding(name, True, f"{data.path} is the same inside: files, FIFOs and wake-ups pass")
