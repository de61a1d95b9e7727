"""The values of a job's secrets, read when an attempt starts, and at no other time."""

from dataclasses import dataclass
from pathlib import Path

from ci_common.jobs import Job, ReasonCode
from ci_common.run_directory.layout import RunDirectory
from ci_common.runtime_faults import StartFault
from ci_common.secrets.ring import KeyRingUnusable
from ci_common.secrets.sealing import MaskKeeper
from ci_common.secrets.stored import StoredSecret, place_of
from ci_common.secrets.values import check_value, why_not_masked
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.spec_parts.secrets import PlannedSecret
from ci_common.system.tasks import in_thread
from ci_controller.run_directory.secret_script import write_secrets
from ci_controller.secrets.references import read_reference
from ci_controller.secrets.vault import ValueUnavailable
from ci_persistence.stores.access.secrets import SecretStore


class SecretUnavailable(StartFault):
    """A secret of the job was removed, or its value cannot be had. `str()` says which and why."""

    reason_code = ReasonCode.SECRET_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class ResolvedSecrets:
    """The secrets of one attempt. Its values are in no message: `repr` leaves them out."""

    script: bytes
    """What gives them to the job, for `RunDirectory.secrets`."""
    masks: str
    """What is masked of them, sealed, for `RunDirectory.masks`."""

    def __repr__(self) -> str:
        return "ResolvedSecrets(...)"


class Secrets:
    """Reads the values of secrets, for one controller."""

    def __init__(self, settings: Settings, store: SecretStore, keeper: MaskKeeper) -> None:
        self._settings = settings
        self._store = store
        self.keeper = keeper

    async def resolve(self, job: Job, plan: ExecutionPlan, base: Path) -> ResolvedSecrets | None:
        """Return the secrets of an attempt; None for a job without any. `base` is the run directory as it sees it.

        Raises SecretUnavailable, Unavailable.
        """
        if not plan.secrets:
            return None
        values: list[tuple[PlannedSecret, str]] = []
        masked: list[str] = []
        for planned in plan.secrets:
            secret = await self._store.get(planned.project, planned.name)
            if secret is None:
                raise SecretUnavailable(f"the secret {planned.name} was removed after the job had been submitted")
            value = await self._value(secret)
            values.append((planned, value))
            if secret.is_masked:
                masked.append(value)
        try:
            sealed = await in_thread(self.keeper.seal, masked, job.id, job.attempt)
        except KeyRingUnusable as exc:
            raise SecretUnavailable(f"the job cannot be given its secrets: {exc}") from exc
        return ResolvedSecrets(write_secrets(values, base=base), sealed)

    async def _value(self, secret: StoredSecret) -> str:
        try:
            if secret.reference is not None:
                value = check_value(await in_thread(read_reference, secret.reference, self._settings))
                why = why_not_masked(value) if secret.is_masked else None
                if why is not None:
                    raise SecretUnavailable(
                        f"the value of the secret {secret.name} {why}, so that it cannot be masked; set it with "
                        "--unmasked"
                    )
                return value
            assert secret.sealed is not None, "it has one of the two"
            place = place_of(secret.project, secret.name)
            return await in_thread(self.keeper.ring.unseal, secret.sealed, place)
        except (ValueUnavailable, KeyRingUnusable, ValueError) as exc:
            raise SecretUnavailable(f"the secret {secret.name} is not available: {exc}") from exc


def place_masks(run: RunDirectory, sealed: str) -> None:
    """Write down what is masked of an attempt, before anything of it can run."""
    run.masks.parent.mkdir(exist_ok=True)
    draft = run.masks.with_name(f"{run.masks.name}.new")
    draft.touch(mode=0o600)
    draft.write_text(sealed)
    draft.replace(run.masks)
