"""How settings are declared and read from environment variables."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ci_common.errors import SettingsError


def setting(env: str, default: Any, meaning: str, unit: str = "", **constraints: Any) -> Any:
    """Declare a setting. `constraints` are those of pydantic's `Field`, such as `ge` and `pattern`."""
    return Field(
        default,
        description=meaning,
        json_schema_extra={"env": env, "unit": unit},
        validate_default=True,
        **constraints,
    )


class DeclaredSettings(BaseModel):
    """A part of the settings, or all of them. Its fields are declared with `setting`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: ClassVar[frozenset[str]] = frozenset()
    """Fields whose values messages do not show."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Read the settings from `environ`, by default this process's environment.

        `overrides` win over it. A variable that is empty counts as unset. Raises SettingsError.
        """
        environ = os.environ if environ is None else environ
        given = {name: environ[env] for name, env in cls.env_names().items() if environ.get(env, "") != ""} | overrides
        try:
            return cls(**given)
        except ValidationError as exc:
            names = cls.env_names()
            problems = []
            for error in exc.errors():
                text = error["msg"].removeprefix("Value error, ")
                if error["loc"]:
                    name = str(error["loc"][0])
                    value = "" if name in cls.secret else f"={given.get(name)!r}"
                    text = f"{names.get(name, name)}{value}: {text}"
                problems.append(text)
            # The cause would show what was given, passwords too.
            raise SettingsError("; ".join(problems)) from None

    @classmethod
    def env_names(cls) -> dict[str, str]:
        """Return the environment variables by field name."""
        return {name: str(cls.describe(name)["env"]) for name in cls.model_fields}

    @classmethod
    def describe(cls, name: str) -> dict[str, Any]:
        """Return `env`, `unit`, `default` and `meaning` of one field."""
        info = cls.model_fields[name]
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        return {
            "env": extra["env"],
            "unit": extra["unit"],
            "default": info.default,
            "meaning": info.description,
        }
