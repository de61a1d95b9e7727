"""The setting with the capabilities that containers have."""

from typing import Annotated, Final

from pydantic import PlainValidator

_KNOWN: Final = """
AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH
FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN
NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT
SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""


def _capabilities(value: object) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    text = str(value).strip()
    if text.lower() == "none":
        return ()
    names = {name.strip().upper().removeprefix("CAP_") for name in text.split(",") if name.strip()}
    if unknown := sorted(names - set(_KNOWN.split())):
        raise ValueError(
            f"{', '.join(unknown)}: no such capability; write their names with commas between, as in CHOWN,SETUID, or "
            "none"
        )
    return tuple(sorted(names))


Capabilities = Annotated[tuple[str, ...], PlainValidator(_capabilities)]
"""Names of capabilities without CAP_, sorted."""
