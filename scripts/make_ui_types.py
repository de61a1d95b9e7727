"""Write the types of the API for the page, `ci_ui/src/api/openapi.d.ts`, from the OpenAPI document.

`python -m scripts.make_ui_types [FILE]`; with FILE, the types go there instead. Needs `npm ci` in ci_ui.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from ci_server.openapi.document import openapi
from ci_server.routes import ENDPOINTS

_UI = Path(__file__).parents[1] / "ci_ui"
TYPES = _UI / "src/api/openapi.d.ts"


def write_types(target: Path) -> None:
    """Write the types into `target`. Raises OSError, CalledProcessError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as document:
        # The version is left out, since the types do not depend on it.
        json.dump(openapi(ENDPOINTS, "0", needs_keys=True), document)
        document.flush()
        program = _UI / "node_modules/.bin/openapi-typescript"
        command = [program, document.name, "--output", target.absolute()]
        subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    write_types(Path(sys.argv[1]) if len(sys.argv) > 1 else TYPES)
