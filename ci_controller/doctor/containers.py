"""The engine: what it is, what its containers see and are held to, and which of them are ours."""

import asyncio
import uuid

from ci_common.errors import RuntimeFault, RuntimeUnavailable
from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_controller.doctor.disk import nearest_existing
from ci_controller.doctor.engine import examine_engine, examine_image
from ci_controller.doctor.probes import examine_probe
from ci_controller.doctor.workloads import examine_workloads
from ci_controller.runtime.docker.containers import HELPER, INSTALLATION
from ci_controller.runtime.docker.engine import Engine, Traits
from ci_controller.runtime.docker.probing import Probe, probe
from ci_persistence.sqlite.inspection import DatabaseReport

PATIENCE = 5.0
"""Seconds the engine may take for one answer."""
ALL_SECONDS = 30.0
"""Seconds it may take for all of them."""


async def examine_containers(settings: Settings, data: DataDirectory, report: DatabaseReport | None) -> list[Finding]:
    """Ask the engine, in bounded time. Raises SettingsError."""
    if settings.runtime == "process":
        finding = Finding("engine", None, "CI_RUNTIME=process: jobs are not isolated", "export CI_RUNTIME=docker")
        return [finding, *await examine_workloads(None, settings, data, report)]
    engine = Engine(settings.docker_url, patience=PATIENCE)
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(ALL_SECONDS):
            await _ask(engine, settings, data, report, findings)
    except RuntimeUnavailable as exc:
        findings.append(_no_engine(settings, exc))
    except TimeoutError:
        message = f"it took more than {ALL_SECONDS:g} s to answer, so not everything was looked at"
        findings.append(Finding("engine", False, message, "see what keeps it busy: docker info; journalctl -u docker"))
    finally:
        await engine.close()
    return findings


async def _ask(
    engine: Engine, settings: Settings, data: DataDirectory, report: DatabaseReport | None, findings: list[Finding]
) -> None:
    traits = await engine.open()
    findings += await examine_engine(engine, traits)
    has_image, about_image = await examine_image(engine, settings.default_image)
    if has_image:
        seen = await _probe(engine, settings, data, report, traits)
        findings += examine_probe(seen, about_image, data)
    else:
        findings.append(about_image)
        message = f"not looked at, since {settings.default_image}, which the probe needs, is not here"
        remedy = f"docker pull {settings.default_image} && ci doctor"
        findings += [Finding(name, None, message, remedy) for name in ("limits in a container", "files in a container")]
    findings += await examine_workloads(engine, settings, data, report)


async def _probe(
    engine: Engine, settings: Settings, data: DataDirectory, report: DatabaseReport | None, traits: Traits
) -> Probe | RuntimeFault | OSError:
    # With the installation's own label and our name, so that its controller removes what is left of a killed doctor.
    ours = report.installation.id if report is not None and report.installation is not None else uuid.uuid4().hex
    try:
        labels = {INSTALLATION: ours, HELPER: this_process().to_json()}
        return await probe(engine, settings.default_image, labels, nearest_existing(data.path), traits)
    except (RuntimeFault, OSError) as exc:
        return exc


def _no_engine(settings: Settings, exc: RuntimeUnavailable) -> Finding:
    if settings.runtime == "docker":
        return Finding("engine", False, str(exc), "start it: systemctl start docker (or export CI_RUNTIME=process)")
    remedy = (
        "for isolated jobs, start a Docker engine (systemctl start docker) and join its group: usermod -aG docker $USER"
    )
    return Finding("engine", None, f"{exc}; jobs run as processes, without isolation", remedy)
