"""Amounts in settings that may be given as a share of what the machine has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import PlainValidator

from ci_common.parsing.values import parse_size


@dataclass(frozen=True, slots=True)
class Portion:
    """An amount, or a share of a whole."""

    text: str
    """The text of the setting."""
    amount: float | None = None
    share: float | None = None

    def of(self, whole: float) -> float:
        """Return the amount, of a machine that has `whole`."""
        return self.amount if self.amount is not None else (self.share or 0.0) * whole

    def __str__(self) -> str:
        return self.text


def _portion(parse: Callable[[str], float], written: str) -> Callable[[object], Portion]:
    def validate(value: object) -> Portion:
        if isinstance(value, Portion):
            return value
        text = str(value).strip()
        try:
            if text.endswith("%"):
                portion = Portion(text, share=float(text[:-1]) / 100)
            else:
                portion = Portion(text, amount=parse(text))
            if not 0 < portion.of(1) < 2**63 or (portion.share or 0) > 1:
                raise ValueError
        except ValueError:
            raise ValueError(f"write {written}, or at most 100% of what the machine has, as in 75%") from None
        return portion

    return validate


SizePortion = Annotated[Portion, PlainValidator(_portion(parse_size, "bytes, as in 4g"))]
"""Bytes, more than 0, or a share of the machine's."""
NumberPortion = Annotated[Portion, PlainValidator(_portion(float, "a number, as in 1.5"))]
"""A number, more than 0, or a share of the machine's."""
