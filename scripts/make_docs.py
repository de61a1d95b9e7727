"""Writes what the code knows, the tables of docs/ and the schemas, for `make docs`; a test runs it with `--check`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from ci_common.access.identity import SCOPES_OF, Role, Scope
from ci_common.settings import Settings
from ci_server.openapi.document import events_schema, spec_schema
from ci_server.routes import ENDPOINTS

ROOT = Path(__file__).parent.parent


def settings_table() -> str:
    """Return the table of docs/settings.md."""
    rows = ["| setting | default | unit | meaning |", "|---|---|---|---|"]
    for name in Settings.model_fields:
        about = Settings.describe(name)
        default = about["default"]
        shown = f"{default:g}" if isinstance(default, float) else str(default or "")
        shown = f"`{shown}`" if shown else ""
        rows.append(f"| `{about['env']}` | {shown} | {about['unit']} | {about['meaning']} |")
    return "\n".join(rows)


def route_table() -> str:
    """Return the table of routes of docs/http.md."""
    rows = ["| call | scope | answer |", "|---|---|---|"]
    for one in ENDPOINTS:
        scope = f"`{one.scope}`" if one.scope else ""
        rows.append(f"| `{one.method} {one.shown_path.replace('{job_id}', '{id}')}` | {scope} | {one.description} |")
    return "\n".join(rows)


def role_table() -> str:
    """Return the table of scopes and roles of docs/security.md."""
    rows = [f"| scope | {' | '.join(Role)} |", f"|---|{'---|' * len(Role)}"]
    rows += [f"| `{scope}` | {' | '.join(_mark(scope in SCOPES_OF[role]) for role in Role)} |" for scope in Scope]
    return "\n".join(rows)


def access_table() -> str:
    """Return the table of routes and roles of docs/security.md."""
    rows = [f"| call | {' | '.join(Role)} | with some projects |", f"|---|{'---|' * len(Role)}---|"]
    for one in ENDPOINTS:
        if one.scope is not None:
            marks = " | ".join(_mark(one.scope in SCOPES_OF[role]) for role in Role)
            rows.append(f"| `{one.method} {one.shown_path.replace('{job_id}', '{id}')}` | {marks} | {one.reach} |")
    return "\n".join(rows)


def _mark(allowed: bool) -> str:
    return "yes" if allowed else ""


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("docs/settings.md", "settings"): settings_table,
    ("docs/http.md", "routes"): route_table,
    ("docs/security.md", "roles"): role_table,
    ("docs/security.md", "access"): access_table,
}
"""What is written, by page and by the name in `<!-- generated: NAME -->`, where it begins; it ends at an empty line."""


SCHEMAS: dict[str, Callable[[], object]] = {
    "ci_server/openapi/spec.schema.json": spec_schema,
    "ci_server/openapi/events.schema.json": events_schema,
}
"""The JSON Schemas that the package has as files."""


def outdated() -> dict[Path, str]:
    """Return the pages that are not as the code would have them, with their right text."""
    pages: dict[Path, str] = {}
    for (page, name), write in PARTS.items():
        path = ROOT / page
        text = pages.get(path) or path.read_text("utf-8")
        head, mark, rest = text.partition(f"<!-- generated: {name} -->\n\n")
        if not mark:
            raise SystemExit(f"{page} has no line <!-- generated: {name} -->")
        _, end, after = rest.partition("\n\n")
        pages[path] = head + mark + write() + end + after
    for name, schema in SCHEMAS.items():
        pages[ROOT / name] = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    return {path: text for path, text in pages.items() if not path.exists() or text != path.read_text("utf-8")}


def main() -> None:
    """Write the pages, or with `--check` name those that `make docs` would change, and fail if there are any."""
    pages = outdated()
    for path, text in pages.items():
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is not up to date; run `make docs`", file=sys.stderr)
        else:
            path.write_text(text, "utf-8")
    sys.exit(1 if pages and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
