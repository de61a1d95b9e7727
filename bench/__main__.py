"""Everything that is measured against the engine and against the machine's own limits.

    python -m bench [FAMILY...] [--quick] [--image IMAGE] [--write PAGE] [--section SECTION]

Without FAMILY, all of them. Prints the report; with --write it is put into the page, between the marks of the section,
and a plot per family beside it. Ends with 1 if a figure cannot be true, or a family failed; a target that is not met is
said in the table of targets. `bench.overload` and `bench.endurance` are programs of their own.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from bench.families import FAMILIES
from bench.figures import write_section
from bench.frame.environment import environment
from bench.frame.judging import impossible
from bench.frame.lab import Family, Lab
from bench.frame.model import LeftOut, Results
from bench.frame.plots import draw
from bench.frame.report import report
from ci_common.system.process_tuning import allow_many_descriptors


async def measure(families: Sequence[Family], lab: Lab) -> list[str]:
    """Measure one family after the other; return what failed, for people."""
    failed = []
    for family in families:
        lab.begin(family.NAME, family.TITLE)
        lab.say("measuring")
        begun = time.monotonic()
        try:
            lab.put(await family.measure(lab))
        except LeftOut as exc:
            lab.leave_out(f"the family `{family.NAME}`", str(exc))
        except Exception as exc:  # The others are measured all the same, and the run has failed.
            traceback.print_exc()
            lab.note(f"**Failed**: {type(exc).__name__}: {exc}")
            failed.append(f"{family.NAME}: {type(exc).__name__}: {exc}")
        lab.say(f"done in {time.monotonic() - begun:.0f} s")
    return failed


def publish(
    results: Results, about: Mapping[str, str], page: Path | None, section: str = "bench", *, is_whole: bool = True
) -> None:
    """Print the report, and put it and its plots into the page, if one is given, between the marks of the section."""
    plots: dict[str, Path] = {}
    if page is not None:
        for name, figures in results.figures.items():
            if figures:
                draw(results, name, page.with_suffix("") / f"{name}.png")
                plots[name] = Path(page.stem, f"{name}.png")
    text = report(results, {**about, "took": f"{results.seconds:.0f} s"}, plots, is_whole=is_whole)
    print(text)
    if page is not None:
        write_section(page, section, text)


def verdict(failed: Sequence[str], results: Results) -> int:
    """Say what is wrong with the run; return its exit status."""
    faults = impossible(results)
    for fault in faults:
        print(f"IMPOSSIBLE: {fault}", file=sys.stderr)
    for failure in failed:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if faults or failed else 0


def interrupt(_: int, __: FrameType | None) -> None:
    """Leave as at Ctrl-C, so that every server is stopped."""
    signal.raise_signal(signal.SIGINT)


def main() -> int:
    """Measure; return the exit status."""
    known = {family.NAME: family for family in FAMILIES}
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(known)}; by default all")
    parser.add_argument("--quick", action="store_true", help="few samples: to see that everything works")
    parser.add_argument("--image", default="python:3.12-slim", help="one with Python; the engine must have it")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put report and plots into this page")
    parser.add_argument(
        "--section", default="bench", help="its marks there; by default bench, which is of all families"
    )
    options = parser.parse_args()
    unknown = [name for name in options.families if name not in known]
    if unknown:
        parser.error(f"no family is called {', '.join(unknown)}; there are {', '.join(known)}")
    if options.write and options.families and options.section == "bench":
        parser.error("the section bench of a page is of all families; name one for these with --section")
    allow_many_descriptors()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # With it, a command of a checkout is compiled at each start.
    signal.signal(signal.SIGTERM, interrupt)
    about = environment(options.image, quick=options.quick)
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(Path(directory), image=options.image, quick=options.quick)
        begun = time.monotonic()
        failed = asyncio.run(measure([known[name] for name in options.families or known], lab))
        lab.results.seconds = time.monotonic() - begun
    publish(lab.results, about, options.write, options.section, is_whole=not options.families)
    return verdict(failed, lab.results)


if __name__ == "__main__":
    sys.exit(main())
