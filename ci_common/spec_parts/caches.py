"""Caches: files that a job leaves for later jobs, found again by a key."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from ci_common.environments import check_pattern
from ci_common.parsing.models import StrictModel, at_most
from ci_common.parsing.text import shown
from ci_common.parsing.values import Line

MOST_CACHES: Final = 10
MOST_PREFIXES: Final = 10
LONGEST_KEY: Final = 512
JOB_ID: Final = "{{ job_id }}"
"""What stands in a planned key for the id of the job, which the plan does not know."""
_LONGEST_PATH: Final = 1000
_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}")
_TEXT = r"(?:'[^']*'|\"[^\"]*\")"
_HASH = re.compile(rf"hash\(\s*({_TEXT}(?:\s*,\s*{_TEXT})*)\s*\)")
_PART: Final = r"(?:\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*\*?(?:\.[A-Za-z]+)?|\*(?:[A-Za-z0-9_-]*\.[A-Za-z]+)?)"
_PLAIN_PATTERN: Final = rf"(?:\*\*/)?(?:{_PART}/)*{_PART}"
_PLAIN_QUOTED: Final = rf"(?:'{_PLAIN_PATTERN}'|\"{_PLAIN_PATTERN}\")"
_PLAIN_HASH: Final = rf"hash\({_PLAIN_QUOTED}(?:, ?{_PLAIN_QUOTED})*\)"
_PLAIN_KEY: Final = rf"^(?:[^{{\u0000-\u001f\u007f-\u009f]|\{{\{{ ?(?:image|job_id|{_PLAIN_HASH}) ?\}}\}})+$"
"""What the JSON Schema of a key says: some of the keys that are taken."""
_PLAIN_NAME: Final = r"\.?[A-Za-z0-9_][A-Za-z0-9_.-]*"
_PLAIN_PATH: Final = rf"^(?:~/)?{_PLAIN_NAME}(?:/{_PLAIN_NAME})*$"
_KNOWN = "{{ hash('requirements.txt') }}, {{ image }} and {{ job_id }}"


def _check_path(path: str) -> str:
    parts = path.removeprefix("~/").split("/")
    if path.startswith("/"):
        raise ValueError(f"{shown(path)} is absolute; write it relative to the project's directory, or as in ~/.cache")
    if ".." in parts:
        raise ValueError(f"{shown(path)} has .. in it; a cache lies below the project's directory or below ~")
    is_odd = any(part in ("", ".", "~") or part.startswith(("-", "~")) for part in parts)
    if is_odd or len(path) > _LONGEST_PATH:
        raise ValueError(
            f"{shown(path)} is not the path of a cache; name one file or directory, as in node_modules or ~/.cache/pip"
        )
    return path


def _check_key(key: str) -> str:
    if not key:
        raise ValueError("it is empty")
    if len(key) > LONGEST_KEY:
        raise ValueError(f"it has {len(key)} characters; at most {LONGEST_KEY} are taken")
    fill_in(key, image="", hashed=lambda patterns: "")  # noqa: ARG005
    return key


def fill_in(key: str, *, image: str, hashed: Callable[[Sequence[str]], str]) -> str:
    """Return a key, or the beginning of one, with its placeholders filled in, except for JOB_ID.

    `hashed` returns the digest of the files that match patterns, and may raise. Raises ValueError for a placeholder
    that is not known.
    """

    def value(found: re.Match[str]) -> str:
        inner = found[1].strip()
        if inner == "job_id":
            return JOB_ID
        if inner == "image":
            return image
        if (call := _HASH.fullmatch(inner)) is None:
            raise ValueError(f"{shown(found[0])} is not a placeholder; known are {_KNOWN}")
        patterns = [text[1:-1] for text in re.findall(_TEXT, call[1])]
        return hashed([check_pattern(pattern) for pattern in patterns])

    if "{{" in _PLACEHOLDER.sub("", key):
        raise ValueError(f"{shown(key)} has {{{{ without }}}}; placeholders are {_KNOWN}")
    return _PLACEHOLDER.sub(value, key)


Key = Annotated[
    Line, AfterValidator(_check_key), Field(json_schema_extra={"pattern": _PLAIN_KEY, "maxLength": LONGEST_KEY})
]
CachePath = Annotated[
    Line, AfterValidator(_check_path), Field(json_schema_extra={"pattern": _PLAIN_PATH, "maxLength": _LONGEST_PATH})
]
When = Literal["success", "failure", "always"]


def _one_prefix(value: object) -> object:
    return [value] if isinstance(value, str) else value


class CacheSpec(StrictModel):
    """Files that are put in place before a job's code begins, and kept for later jobs once it has ended."""

    path: CachePath = Field(description="a file or directory, relative to the project's directory or below ~/")
    key: Key = Field(description="with placeholders, as in pip-{{ hash('requirements*.txt') }}")
    restore: Annotated[list[Key], at_most(MOST_PREFIXES), BeforeValidator(_one_prefix)] = Field(
        default_factory=list,
        json_schema_extra={"maxItems": MOST_PREFIXES},
        description="beginnings of keys, of which the newest cache is taken where none has the key",
    )
    when: When = Field("success", description="after which ends of the job it is saved")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        described["title"] = "Cache"
        prefixes = described["properties"]["restore"]
        about = prefixes.pop("description")
        described["properties"]["restore"] = {"anyOf": [prefixes["items"], prefixes], "description": about}
        return described


Caches = Annotated[
    list[CacheSpec],
    at_most(MOST_CACHES),
    Field(json_schema_extra={"maxItems": MOST_CACHES}),
]


class PlannedCache(BaseModel):
    """A cache of a resolved job: only JOB_ID is left to be filled in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    key: str
    restore: tuple[str, ...] = ()
    when: When = "success"

    @property
    def is_in_home(self) -> bool:
        return self.path.startswith("~/")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCache:
    """A cache that is kept. The controller writes its row; the API may delete it."""

    id: str
    """The name of its archive. No archive ever changes: what is saved later has another id."""
    scope: str
    """Only jobs of this owner and this project use it: `ci_controller.environments.keys.scope_of`."""
    owner: str
    project: str | None
    path: str
    key: str
    job_id: str
    """The job that has left it."""
    created_time: datetime
    last_used_time: datetime
    size: int
    """Bytes of its archive."""
    files: int
    """How many entries the archive has."""
