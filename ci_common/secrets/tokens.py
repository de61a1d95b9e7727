"""Recognises tokens and keys by their form, in texts that are stored and shown in clear."""

import re
from typing import Final
from urllib.parse import quote, unquote

from ci_common.access.keys import id_in, without_keys

_FORMS: Final = (
    ("a token of GitHub", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{36,}"),
    ("a token of GitHub", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{40,}"),
    ("a token of GitLab", ("glpat-",), r"glpat-[A-Za-z0-9_-]{20,}"),
    ("an access key of AWS", ("AKIA", "ASIA"), r"(?<![A-Z0-9])A[KS]IA[A-Z2-7]{16}(?![A-Z0-9])"),
    ("a token of Slack", ("xox",), r"xox[abeoprs]-[A-Za-z0-9-]{20,}"),
    ("an API key of OpenAI or Anthropic", ("sk-",), r"(?<![A-Za-z0-9-])sk-[A-Za-z0-9_-]{32,}"),
    ("a key of Stripe", ("sk_live_", "rk_live_"), r"[sr]k_live_[A-Za-z0-9]{20,}"),
    ("a token of npm", ("npm_",), r"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    ("a token of PyPI", ("pypi-",), r"pypi-AgEI[A-Za-z0-9_-]{40,}"),
    ("an API key of Google", ("AIza",), r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    ("a private key", ("PRIVATE KEY",), r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*[A-Za-z0-9+/=]{16}"),
)
_COMPILED: Final = tuple((what, beginnings, re.compile(pattern)) for what, beginnings, pattern in _FORMS)
_OWN: Final = re.compile(r"ci_[0-9a-z]{16}_[0-9A-Za-z]{49}")
_SIGNED: Final = re.compile(r"eyJ[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]*){0,4}")
"""JSON Web Tokens, whole or cut."""
_MASK: Final = "***"
_BEGINNING: Final = re.compile("|".join(["eyJ", *(re.escape(each) for _, some, _ in _COMPILED for each in some)]))
"""What has none of it has no token, which is found out in one pass; every request has a few short texts."""

_PART: Final = 64 * 1024
_OVERLAP: Final = 1024
"""More than any token needs to be recognised."""


def token_in(text: str) -> str | None:
    """Return what a text seems to have in it, such as `a private key`; None if that is no token or key.

    A long text is searched in parts, since no other thread runs while a regular expression is matched.
    """
    for begin in range(0, max(1, len(text)), _PART):
        if (what := _in_part(text, begin, min(len(text), begin + _PART + _OVERLAP))) is not None:
            return what
    return None


def without_tokens(text: str) -> str:
    """Return a short text, such as a path, with `***` in place of the tokens and keys of others that it has."""
    if _BEGINNING.search(text) is None:
        return text
    text = _SIGNED.sub(_MASK, text)
    for _, beginnings, pattern in _COMPILED:
        if any(beginning in text for beginning in beginnings):
            text = pattern.sub(_MASK, text)
    return text


def path_without_tokens(path: str) -> str:
    """Return an encoded path with masks in place of keys and tokens, also of those whose characters are encoded."""
    masked = without_tokens(without_keys(path))
    if "%" not in path:
        return masked
    decoded = unquote(path)
    shown = without_tokens(without_keys(decoded))
    return masked if shown == decoded else quote(shown, safe="/*")


def _in_part(text: str, begin: int, end: int) -> str | None:
    if text.find("ci_", begin, end) >= 0 and any(id_in(match[0]) for match in _OWN.finditer(text, begin, end)):
        return "a key of this server"
    for what, beginnings, pattern in _COMPILED:
        if any(text.find(beginning, begin, end) >= 0 for beginning in beginnings):
            match = pattern.search(text, begin, end)
            # One that the end of the part has cut is whole in the next part, or longer than any token.
            if match is not None and (match.end() < end or end == len(text) or len(match[0]) > _OVERLAP // 2):
                return what
    return None
