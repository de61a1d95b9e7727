"""`ci doctor`: what the controller sees of engine, image and database."""

from ci_cli.roots.embedded import embedded_settings
from ci_cli.roots.parts import server_parts
from ci_common.findings import Finding
from ci_common.settings import Settings


def installation_settings(*, serves: bool) -> Settings:
    """Return the settings of this user's `ci serve`, or of the embedded server where none runs."""
    return Settings.from_env() if serves else embedded_settings(carries_jobs=True)


async def examine_installation(settings: Settings) -> list[Finding]:
    """Return what the controller finds. Raises ServerPartsMissing."""
    with server_parts():
        from ci_controller.doctor.examine import examine

    return await examine(settings)
