"""JSON Schema of what may be written in several ways: numbers (`90`, `"90"`, `"10m"`, `"512m"`), booleans, lists."""

from typing import Any, Final

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_MOST_DIGITS: Final = 6
_UNBOUNDED: Final = 1e15


_KIND: Final = "x-number"
_BOUNDS: Final = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
"""pydantic leaves bounds by these names where a validator stands before a number."""


BOOLEAN: Final = {
    "enum": [True, False, "true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "1", "0", 1, 0],
    "type": ["boolean", "string", "integer"],
}
"""What is taken for a boolean. In texts, capital letters do not matter."""


def one_or_several(items: dict[str, Any], *, least: int = 1) -> dict[str, Any]:
    """Return the schema of a field that takes one value or a list of at least so many, from that of the list."""
    rest = {name: value for name, value in items.items() if name not in ("type", "items")}
    return {**rest, "anyOf": [items["items"], {"type": "array", "items": items["items"], "minItems": least}]}


class AlsoText:
    """An annotation: the JSON Schema of the field allows the number, or text that says one within the same bounds.

    `finished` has to be called with the schema. `kind`: `integer`, `number`, `duration` or `size`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "string", _KIND: self._kind}]}


def finished(node: Any) -> Any:
    """Return a JSON Schema with the bounds of numbers in their places, and a pattern for texts that say a number.

    The pattern is stricter than what is accepted: it covers only the usual forms.
    """
    if isinstance(node, list):
        return [finished(item) for item in node]
    if not isinstance(node, dict):
        return node
    options = node.get("anyOf", [])
    texts = [option for option in options if _KIND in option]
    if not texts:
        return {name: finished(value) for name, value in node.items()}
    outer = {name: value for name, value in node.items() if name in _BOUNDS}
    number = {_BOUNDS.get(name, name): value for name, value in (options[0] | outer).items()}
    text = {"type": "string", "pattern": f"^(?:{_pattern(texts[0][_KIND], number)})$"}
    rest = {name: value for name, value in node.items() if name not in _BOUNDS}
    return rest | {"anyOf": [number, text, *(option for option in options[1:] if _KIND not in option)]}


def _pattern(kind: str, number: dict[str, Any]) -> str:
    most = min(number.get("maximum", _UNBOUNDED), number.get("exclusiveMaximum", _UNBOUNDED + 1) - 1)
    if kind == "size":
        return r"[1-9][0-9]{0,4} ?(?:[kmgtKMGT](?:i?[bB])?|[bB])?"
    if kind == "duration":
        return "|".join(_durations(most))
    digits = _digits(most)
    nonzero = _nonzero(digits)
    least = number.get("minimum", 0 if "exclusiveMinimum" not in number else 1)
    signed = {True: f"-?(?:0|{nonzero})", False: f"0|{nonzero}"}[least < 0]
    whole = nonzero if least > 0 else signed
    if kind == "integer":
        return whole
    return rf"(?:{whole})(?:\.[0-9]{{1,3}})?" + (r"|0\.[0-9]{0,2}[1-9]" if least > 0 else "")


def _digits(most: float) -> int:
    """Return how many digits a number may have to be below `most`, whatever they are."""
    return max(1, min(_MOST_DIGITS, len(str(int(most))) - 1))


def _nonzero(digits: int) -> str:
    return f"[1-9][0-9]{{0,{digits - 1}}}" if digits > 1 else "[1-9]"


def _durations(most: float) -> list[str]:
    """Return patterns for durations of at most `most` seconds, by their largest unit; without a unit: seconds."""
    found = [_nonzero(_digits(most))]
    smaller, smaller_seconds = "", 0
    for unit, seconds in reversed(_UNITS):
        digits = max((n for n in range(_MOST_DIGITS) if (10**n - 1) * seconds + smaller_seconds <= most), default=0)
        if digits:
            fraction = r"(?:\.[0-9]{1,3})?" if unit == "s" else ""
            found.append(f"{_nonzero(digits)}{fraction}{unit}{smaller}")
        smaller = f"(?:[0-9]{{1,2}}{unit})?{smaller}"
        smaller_seconds += 99 * seconds
    return found
