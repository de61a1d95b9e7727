"""The digest of an entry, which other programs make as well."""

import json
from dataclasses import replace

import pytest

from ci_common.sharing.audit import BEGINNING, Chain, Entry, Mark, Outcome, digest_of, recorded, recorded_on_wire

ENTRY = Entry(
    time=1_700_000_000_123_456,
    action="submit_job",
    actor="alice",
    key_id="0123456789abcdef",
    address="192.0.2.1",
    request="POST /jobs",
    target="/jobs/x",
    project="web",
    outcome=Outcome.DONE,
)


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        replace(ENTRY, key_id=None, project=None, reason="key_invalid", outcome=Outcome.REFUSED, count=12),
        replace(ENTRY, actor='"Zoë" \\ 🦊', target="/jobs/…", project="\u2028 a\tb"),
    ],
    ids=["plain", "refused", "quoted"],
)
@pytest.mark.parametrize("after", [BEGINNING, Mark(10**17, "f" * 64)], ids=str)
def test_the_digest_is_that_of_the_document_that_is_shown(entry: Entry, after: Mark) -> None:
    each = recorded(entry, after)
    document = json.loads(json.dumps(recorded_on_wire(each)))
    assert each.digest == document["digest"] == digest_of(document)
    assert Chain(after).check(document) is None
