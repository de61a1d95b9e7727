"""Run the listed projects by detection alone, twice each, and by their own instructions, and compare the counts.

    python -m tests.engine python -m bench.projects [NAME...] [--again] [--limit N]
    python -m bench.projects --reports [NAME...]

Without NAME, all projects that have no result yet. After each project, the results are kept in `results.json` beside
the list, and the table in `docs/projects.md` is written from them. Needs an engine and pip's package index. Ends with 1
if the counts of a project differ and the list does not say why.

With `--reports`, each runs once by detection, as processes without an engine, and only what its test report says is
compared with what pytest has printed in the same run.
"""

import argparse
import json
import os
import signal
import sys
from types import FrameType
from typing import Any

from bench.projects.runs import compare, reported
from bench.projects.sources import LIST, ROOT, Source, read_list
from bench.projects.table import is_explained, is_reported, write_table
from bench.served import scratch, served
from tests.engine import images
from tests.engine.api import require_engine

PAGE = ROOT / "docs" / "projects.md"
RESULTS = LIST.with_name("results.json")


def main() -> int:
    arguments = _arguments()
    sources = read_list()
    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known = {source.name: source for source in sources}
    if unknown := [name for name in arguments.names if name not in known]:
        sys.exit(f"{LIST.name} has no project called {', '.join(unknown)}")
    wanted = [known[name] for name in arguments.names] or sources
    if arguments.reports and not arguments.table:
        _read_reports(wanted, results)
        write_table(PAGE, sources, results)
        return 0 if all(is_reported(source, results.get(source.name)) for source in sources) else 1
    if not (arguments.again or arguments.names):
        wanted = [source for source in wanted if results.get(source.name, {}).get("version") != source.version]
    wanted = wanted[: arguments.limit]
    if wanted and not arguments.table:
        if any(source.image == images.COMPILER_IMAGE for source in wanted):
            images.compiler_image(require_engine())
        settings = {"CI_RUNTIME": "docker", "CI_POOL_SIZE": "2", "DOCKER_HOST": os.environ.get("DOCKER_HOST", "")}
        with scratch() as directory, served(directory, **settings) as service:
            for number, source in enumerate(wanted, start=1):
                print(f"{number}/{len(wanted)} {source.requirement}", flush=True)
                results[source.name] = compare(source, service)
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
                write_table(PAGE, sources, results)
                print(f"    {results[source.name]}", flush=True)
    write_table(PAGE, sources, results)
    return 0 if all(is_explained(source, results.get(source.name)) for source in sources) else 1


def _read_reports(wanted: list[Source], results: dict[str, dict[str, Any]]) -> None:
    with scratch() as directory, served(directory) as service:
        for number, source in enumerate(wanted, start=1):
            print(f"{number}/{len(wanted)} {source.requirement}", flush=True)
            results.setdefault(source.name, {}).update(reported(source, service))
            RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
            print(f"    {results[source.name]['reported']}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.projects")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only these, in this order, whether they have results or not"
    )
    parser.add_argument("--again", action="store_true", help="also the projects that have results")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many projects")
    parser.add_argument("--reports", action="store_true", help="only compare test reports with what pytest prints")
    parser.add_argument("--table", action="store_true", help="write the table only")
    return parser.parse_args()


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())
