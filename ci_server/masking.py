"""Keeps secrets out of what a job shows of its request."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|KEY|AUTH|COOKIE|SIGNATURE", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def masked_env(env: Mapping[str, Any]) -> dict[str, Any]:
    """Return `env` with the values of variables that sound like secrets masked, and logins in addresses too."""
    return {
        name: MASK if _SECRET_NAME.search(name) else _SECRET_VALUE.sub(MASK, value) if isinstance(value, str) else value
        for name, value in env.items()
    }


def masked_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec in its JSON form with the secrets among its variables masked."""
    env = spec.get("env")
    return {**spec, "env": masked_env(env)} if isinstance(env, Mapping) else dict(spec)
