"""Jobs with test and coverage reports, for the pages that compare them."""

from collections.abc import Mapping
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from ci_client.aio import CiClient
from tests.helpers.service import finished

_CASE: Final = '<testcase classname="shop.tests" name={name} time="{seconds}">{inside}</testcase>'
_FAILED: Final = '<failure message="not what was ordered">expected 2, got 3</failure>'


def reported(tests: Mapping[str, tuple[bool, float]], *, covered: int, project: str = "shop") -> dict[str, Any]:
    """Return a job that reports tests, by name whether they pass and their seconds, and `covered` of 10 lines."""
    cases = "".join(
        _CASE.format(name=quoteattr(name), seconds=seconds, inside="" if passes else _FAILED)
        for name, (passes, seconds) in tests.items()
    )
    junit = f'<testsuite name="shop">{cases}</testsuite>'
    lines = "\n".join(f"DA:{line},{int(line <= covered)}" for line in range(1, 11))
    lcov = f"SF:shop/cart.py\n{lines}\nend_of_record\n"
    failed = any(not passes for passes, _ in tests.values())
    steps = [
        {"name": "prepare", "run": "true"},
        {
            "name": "test",
            "run": f"cat > $CI_REPORTS/tests.xml <<'END'\n{junit}\nEND\n"
            f"cat > $CI_REPORTS/lcov.info <<'END'\n{lcov}END\n"
            f"mkdir -p dist; echo {covered} > dist/covered.txt; exit {int(failed)}",
        },
    ]
    return {"steps": steps, "project": project, "artifacts": ["dist/*"]}


async def run(client: CiClient, job: Mapping[str, Any]) -> str:
    """Run a job to its end and return its id."""
    job_id = await client.create_job(job)
    await finished(client, job_id)
    return job_id
