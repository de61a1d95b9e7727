"""Write what the documentation takes from the code: the list of routes in docs/http.md (`make docs`)."""

import re
from collections.abc import Iterable
from pathlib import Path

from ci_server.endpoints import AnyEndpoint
from ci_server.routes import ENDPOINTS

_PAGE = Path(__file__).parent.parent / "docs" / "http.md"
_SECTION = re.compile(r"(?<=\n## Routes\n\n).*?(?=\n`GET` routes answer)", re.DOTALL)


def route_list(endpoints: Iterable[AnyEndpoint]) -> str:
    """Return the table of endpoints in Markdown."""
    rows = (
        f"| `{one.method} {one.path.replace('{job_id}', '{id}')}` | {f'`{one.scope}`' if one.scope else ''} | "
        f"{one.description} |\n"
        for one in endpoints
    )
    return "".join(["| call | scope | answer |\n|---|---|---|\n", *rows])


def main() -> None:
    """Rewrite the section."""
    _PAGE.write_text(_SECTION.sub(lambda _: route_list(ENDPOINTS), _PAGE.read_text()))


if __name__ == "__main__":
    main()
