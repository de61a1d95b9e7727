"""The form of keys, and what is accepted as one."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest

from ci_common.access import keys
from ci_common.access.identity import SCOPES_OF, Role, Scope
from ci_common.access.keys import digest_of, id_in, new_secret, without_keys
from tests.helpers.keys import a_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_key_has_an_id_and_a_random_secret_and_one_form() -> None:
    made = [new_secret() for _ in range(100)]
    assert len({secret.id for secret in made}) == len({secret.key[20:] for secret in made}) == 100
    for secret in made:
        assert re.fullmatch("ci_[0-9a-z]{16}_[0-9A-Za-z]{49}", secret.key)
        assert id_in(secret.key) == secret.id
        assert secret.digest == digest_of(secret.key)
    assert new_secret(made[0].id).id == made[0].id


def test_every_random_bit_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for bit in range(256):
        monkeypatch.setattr(keys.secrets, "token_bytes", lambda size, bit=bit: (1 << bit).to_bytes(size))
        found.add(new_secret("0" * 16).key)
    assert len(found) == 256


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "",
        lambda key: key[:-1],
        lambda key: key + "0",
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key.replace("ci_", "ci-"),
        lambda key: key.upper(),
        lambda key: f"{key}\n",
        lambda key: key[:3] + "' OR 1=1 -- x  "[:15] + key[18:],
        lambda key: key[:3] + "../../etc/passwd" + key[19:],
        lambda key: key[:3] + "%" * 16 + key[19:],
        lambda key: key[:3] + "٣" * 16 + key[19:],
        lambda key: key[:3] + "a" * 16 + key[19:],
    ],
)
def test_what_is_no_key_has_no_id(change: object) -> None:
    assert id_in(change(new_secret("b" * 16).key)) is None  # type: ignore[operator]


def test_a_secret_is_accepted_until_its_time_is_over() -> None:
    key, text = a_key()
    before, hour = digest_of("before"), timedelta(hours=1)
    assert key.accepts(digest_of(text), NOW)
    assert not key.accepts(before, NOW)
    rotated = replace(key, previous_digest=before, previous_until=NOW + hour)
    assert rotated.accepts(before, NOW)
    assert rotated.accepts(digest_of(text), NOW)
    assert not rotated.accepts(before, NOW + hour)
    assert not rotated.accepts("0" * 64, NOW + hour), "what stands in for a missing digest opens nothing"
    assert not key.accepts("0" * 64, NOW)


def test_both_digests_are_compared_in_constant_time_whichever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = a_key()
    key = replace(key, previous_digest=digest_of("before"), previous_until=NOW + timedelta(hours=1))
    for given in (digest_of(text), digest_of("before"), digest_of("another")):
        compare = Mock(side_effect=keys.hmac.compare_digest)
        monkeypatch.setattr(keys.hmac, "compare_digest", compare)
        key.accepts(given, NOW)
        monkeypatch.undo()
        assert [call.args for call in compare.call_args_list] == [(given, key.digest), (given, key.previous_digest)]


def test_a_key_ends_when_it_is_revoked_or_expires() -> None:
    key, _ = a_key()
    assert key.ended(NOW) is None
    assert replace(key, expires=NOW + timedelta(seconds=1)).ended(NOW) is None
    assert replace(key, expires=NOW).ended(NOW) == "has expired"
    assert replace(key, revoked_time=NOW, expires=NOW).ended(NOW) == "has been revoked"


def test_a_key_has_the_scopes_of_its_role_or_its_own() -> None:
    key, _ = a_key(role=Role.VIEWER)
    assert key.identity().scopes == SCOPES_OF[Role.VIEWER]
    key, _ = a_key(scopes=frozenset({Scope.JOBS_READ}), projects=frozenset({"a"}), owner="bob")
    identity = key.identity()
    assert identity.scopes == {Scope.JOBS_READ, Scope.KEYS_OWN}
    assert (identity.name, identity.key_id) == ("bob", key.id)
    assert [identity.sees(project) for project in ("a", "b", None)] == [True, False, False]


def test_each_role_may_do_what_the_one_before_may() -> None:
    for less, more in zip(Role, list(Role)[1:], strict=False):
        assert SCOPES_OF[less] < SCOPES_OF[more]
    assert SCOPES_OF[Role.ADMIN] == set(Scope)


def test_keys_are_masked_in_texts() -> None:
    key = new_secret().key
    assert without_keys(f"/jobs/{key}/log?{key}") == "/jobs/ci_***/log?ci_***"
    assert without_keys("/jobs/ci_cd") == "/jobs/ci_cd"
