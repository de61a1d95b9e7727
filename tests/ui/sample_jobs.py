"""Real jobs in every state, for the tests of the pages that show them. They run as processes of this machine."""

import contextlib
import time
from typing import Any

import httpx

from tests.helpers.waiting import PATIENCE

REPORT = """<testsuites><testsuite name="shop">
<testcase classname="tests.test_cart" name="test_total" time="0.01" file="tests/test_cart.py" line="11">
<failure message="assert 41 == 42">def test_total():
&gt;   assert total() == 42
E   assert 41 == 42</failure><system-out>adding &lt;script&gt;alert(1)&lt;/script&gt;</system-out></testcase>
<testcase classname="tests.test_cart" name="test_empty" time="0.002"/>
<testcase classname="tests.test_cart" name="test_slow" time="3.5"/>
<testcase classname="tests.test_mail" name="test_send"><skipped message="no network"/></testcase>
</testsuite></testsuites>"""
SUMMARY = """## Results

| suite | failed |
|---|--:|
| shop | **1** |

- see [the report](https://reports.example/1)
- <img src=x onerror=alert(1)> [bad](javascript:alert(1))
"""
PAGE = """<!doctype html><title>Report</title><style>p {{ color: green }}</style><p id=out>no script</p>
<script>
  document.getElementById("out").textContent = "script has run";
  try {{ parent.document.title = "taken"; }} catch (error) {{ document.body.append(" and stays in its frame"); }}
  {more}
</script>"""
PIXEL = (
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c63606060f80f000104010015bb1e9b0000000049454e44ae426082"
)
FAILING = f"""
mkdir -p reports shots
cat > reports/junit.xml <<'END'
{REPORT}
END
cat > reports/index.html <<'END'
{PAGE.format(more="fetch('/jobs').then(() => document.body.append(' and has read jobs'), () => {});")}
END
cat > reports/notes.md <<'END'
# Notes
Read **this**.
END
echo '{{"total": 42, "parts": [1, 2]}}' > reports/data.json
echo 'plain text' > reports/plain.txt
printf '{PIXEL}' | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))' > shots/one.png
cat > "$CI_SUMMARY" <<'END'
{SUMMARY}
END
echo "version=1.2.3" >> "$CI_OUTPUT"
seq 1 50
echo "tests/test_cart.py:12: AssertionError"
echo "::error file=tests/test_cart.py,line=12,title=Wrong total::assert 41 == 42"
echo "::warning file=src/cart.py,line=3::this is slow"
exit 3
"""
FAILED: dict[str, Any] = {
    "steps": [{"name": "prepare", "run": "echo ready"}, {"name": "test", "run": FAILING}],
    "artifacts": ["reports/**", "shots/**"],
    "reports": {"junit": "reports/junit.xml"},
    "project": "shop",
    "labels": {"team": "carts", "name": "test suite of the shop"},
}
SUCCEEDED: dict[str, Any] = {"command": "echo done", "project": "shop", "labels": {"branch": "main"}}
LONG_NAME = "run-" + "a-very-long-name-" * 40
TIMED_OUT: dict[str, Any] = {"command": ["sleep", "600"], "timeout": 1}
ENDLESS: dict[str, Any] = {"command": "echo started; sleep 600"}


def submit(client: httpx.Client, spec: dict[str, Any]) -> str:
    """Submit a job without an upload and return its id."""
    answer = client.post("/jobs", json=spec)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return str(answer.json()["job_id"])


def wait_for(client: httpx.Client, job_id: str, status: str = "completed") -> dict[str, Any]:
    """Return the job once it has this status, as its stream tells."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        if job["status"] in (status, "completed"):
            assert job["status"] == status, job
            return job
        _next_event(client, job_id)
    raise AssertionError(f"job {job_id} is not {status}")


def _next_event(client: httpx.Client, job_id: str) -> None:
    """Return at the next change of the job, or after two seconds."""
    with (
        contextlib.suppress(httpx.ReadTimeout),
        client.stream("GET", f"/jobs/{job_id}/stream", timeout=2) as answer,
    ):
        seen = 0
        for line in answer.iter_lines():
            seen += line.startswith("data:")
            if seen > 1:
                return
