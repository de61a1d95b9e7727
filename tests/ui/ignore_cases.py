"""The table of cases that the ignore rules of the command and of the page are both run through.

`python -m tests.ui.ignore_cases` writes it, with what the command's rules say.
"""

import json
import random
from itertools import product
from typing import Any

from ci_client.packing.ignore import IgnoreFile, as_bytes
from tests.helpers.installation import ROOT

TABLE = ROOT / "ci_ui/src/packing/ignore_cases.json"
_PATTERNS = (
    "*.log !keep.log /build build/ docs/*.txt docs/**/x a/**/b **/c d/** **/ * ** *** a*b*c*d a?c [abc].py [!abc].py "
    "[a-c-e] []x] [[:digit:]]* [[:alpha:][:digit:]] [[:wrong:]] [a \\#x \\!x \\*.py a\\ x\\ !*/ !/a/b é*.txt ??.md "
    "a/*/c/**/d .* .[!.]* *.[oa] foo/**bar **foo/bar a**b /** /*/x [z-a] [\\]] [^/]x a[/]b x/ x/y/ *.tar.* \\ a\\"
)
_PATHS = (
    "keep.log a.log docs/a.txt docs/b/a.txt docs/x docs/b/c/x build src/build a/b a/x/b a/x/y/b c x/c d d/e/f abc "
    "abbcd aXbYcZd a.py d.py -.py e 1 12a ] x #x !x *.py é1.txt ü.txt ab.md .env .git x.o foo/bar foo/xbar yfoo/bar "
    "a/x/c/d a/x/c/y/z/d x/y x.tar.gz \\ a\\ aaaaaaaaaaaaaaaaaaaa/b"
)
_RANDOM_CASES = 400


def cases() -> list[dict[str, Any]]:
    """Return the cases: the lines of a file, an entry, and the number of the line that decides, from 1, or 0."""
    chosen, patterns, paths = random.Random(1), _PATTERNS.split(), _PATHS.split()
    given = [
        *(([pattern], path, True) for pattern, path in chosen.sample([*product(patterns, paths)], _RANDOM_CASES)),
        *((chosen.sample(patterns, 4), chosen.choice(paths), chosen.random() < 0.5) for _ in range(_RANDOM_CASES)),
        (["a\\ ", "b "], "a ", False),
        (["b "], "b", False),
        (["x\r"], "x", False),
    ]
    return [
        {"lines": lines, "path": path, "directory": directory, "decided_by": _decided_by(lines, path, directory)}
        for lines, path, directory in given
    ]


def _decided_by(lines: list[str], path: str, is_directory: bool) -> int:
    file = IgnoreFile.of_bytes("\n".join(lines).encode())
    rule = file.verdict(as_bytes(path.rpartition("/")[2]), as_bytes(path), is_directory=is_directory)
    return 0 if rule is None else (rule.number + 1) * (1 if rule.leave_out else -1)


def as_json() -> str:
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases())
    return f"[\n{lines}\n]\n"


if __name__ == "__main__":
    TABLE.write_text(as_json())
