"""The words that the product and its documentation do without, because plainer ones say the same."""

import re
from collections.abc import Iterator

from tests.helpers.installation import ROOT
from tests.helpers.markdown import pages

REFUSED = ("whoever", "nobody", "anew", "somebody", "everybody", "by now", "meanwhile", "in vain")
"""Name the process or the person instead, say "again" or "so far", or leave the word out."""

_WORDS = re.compile(
    r"(?<![a-z])(" + "|".join(word.replace(" ", r"[\s#]+") for word in REFUSED) + r")(?![a-z])", re.IGNORECASE
)


_BUILT = {"node_modules", "dist"}


def texts() -> Iterator[tuple[str, str]]:
    """Yield path and text of every file of the product and every page of the documentation."""
    yield from ((page.name, page.text) for page in pages())
    for package in sorted(ROOT.glob("ci_*")):
        for path in sorted(package.rglob("*")):
            if path.suffix in (".py", ".sql", ".ts", ".tsx") and not _BUILT & set(path.parts):
                yield str(path.relative_to(ROOT)), path.read_text("utf-8")


def test_refused_words_do_not_occur() -> None:
    assert [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {' '.join(match[1].split())}"
        for name, text in texts()
        for match in _WORDS.finditer(text)
    ] == []


def test_a_refused_word_is_found_across_a_line_break() -> None:
    assert _WORDS.search("which ended by\n    # now")
    assert _WORDS.search("is_nobody")
    assert not _WORDS.search("canewer")


def test_the_pages_are_read() -> None:
    assert {"README.md", "ARCHITECTURE.md", "ci_common/jobs.py"} <= {name for name, _ in texts()}
