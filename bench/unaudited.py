"""Runs `ci serve` without its audit, which no setting turns off: the reference of the family `guards`.

python -m bench.unaudited
"""

import sys

from ci_cli.main import main
from ci_server.endpoints import Endpoint

if __name__ == "__main__":
    Endpoint.is_audited = property(lambda _: False)  # type: ignore[assignment,method-assign]
    sys.argv[1:] = ["serve"]
    main()
