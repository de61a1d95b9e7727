"""What every `Storage` promises about keys."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ci_common.access.identity import Role, Scope
from ci_common.access.keys import Key, KeyKind
from ci_persistence.storage import Storage
from ci_persistence.stores.access.keys import Rotation
from tests.contracts.storage_place import Base

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLAIN = Key(
    id="0123456789abcdef",
    name="alice's laptop",
    owner="alice",
    role=Role.DEVELOPER,
    digest="a" * 64,
    created_time=T0,
    created_by="local",
)
FULL = replace(
    PLAIN,
    id="fedcba9876543210",
    role=None,
    scopes=frozenset({Scope.JOBS_READ, Scope.JOBS_WRITE}),
    projects=frozenset({"website", 'ünïcödé, "quoted"'}),
    previous_digest="b" * 64,
    previous_until=T0 + HOUR,
    created_time=T0 + HOUR,
    expires=T0 + 5 * HOUR,
    last_used_time=T0 + 2 * HOUR,
    revoked_time=T0 + 4 * HOUR,
)
SESSION = replace(PLAIN, id="s" * 16, digest="5" * 64, kind=KeyKind.SESSION, made_from=PLAIN.id, expires=T0 + 5 * HOUR)


class KeySuite(Base):
    async def test_keeps_keys(self, storage: Storage) -> None:
        assert await storage.keys.get(PLAIN.id) is None
        assert await storage.keys.list() == []
        for key in (PLAIN, FULL):
            await storage.keys.add(key)
        assert await storage.keys.get(PLAIN.id) == PLAIN
        assert await storage.keys.get(FULL.id) == FULL
        assert await storage.keys.list() == [FULL, PLAIN]

    async def test_several_are_read_at_once(self, storage: Storage) -> None:
        for key in (PLAIN, FULL):
            await storage.keys.add(key)
        assert await storage.keys.get_many([PLAIN.id, "none", FULL.id]) == {PLAIN.id: PLAIN, FULL.id: FULL}
        assert await storage.keys.get_many([]) == {}

    async def test_all_are_revoked_at_once(self, storage: Storage) -> None:
        for key in (PLAIN, FULL):
            await storage.keys.add(key)
        assert await storage.keys.revoke_all(T0 + 9 * HOUR) == 1
        assert await storage.keys.get(PLAIN.id) == replace(PLAIN, revoked_time=T0 + 9 * HOUR)
        assert await storage.keys.get(FULL.id) == FULL, "the first time stands"
        assert await storage.keys.revoke_all(T0 + 10 * HOUR) == 0

    async def test_an_id_is_given_once(self, storage: Storage) -> None:
        await storage.keys.add(PLAIN)
        with pytest.raises(ValueError, match=r".+"):
            await storage.keys.add(replace(FULL, id=PLAIN.id))
        assert await storage.keys.list() == [PLAIN]

    async def test_a_revoked_key_is_still_there(self, storage: Storage) -> None:
        assert not await storage.keys.any()
        await storage.keys.add(PLAIN)
        assert await storage.keys.revoke(PLAIN.id, T0 + HOUR)
        assert not await storage.keys.revoke(PLAIN.id, T0 + 2 * HOUR), "the first time stands"
        assert not await storage.keys.revoke("unknown", T0)
        assert await storage.keys.list() == [replace(PLAIN, revoked_time=T0 + HOUR)]
        assert await storage.keys.any()

    async def test_a_rotation_keeps_the_secret_before_for_its_overlap(self, storage: Storage) -> None:
        await storage.keys.add(PLAIN)
        assert await storage.keys.rotate(PLAIN.id, Rotation("c" * 64, T0, HOUR))
        once = replace(PLAIN, digest="c" * 64, previous_digest="a" * 64, previous_until=T0 + HOUR)
        assert await storage.keys.get(PLAIN.id) == once

        early = Rotation("d" * 64, T0 + HOUR / 2, HOUR)
        assert not await storage.keys.rotate(PLAIN.id, early), "it would end the first secret early"
        assert await storage.keys.get(PLAIN.id) == once
        assert await storage.keys.rotate(PLAIN.id, Rotation("d" * 64, T0 + HOUR, HOUR))
        assert await storage.keys.rotate(PLAIN.id, Rotation("e" * 64, T0 + HOUR, timedelta(0))), "all earlier ones end"
        last = await storage.keys.get(PLAIN.id)
        assert last is not None
        assert (last.digest, last.previous_digest, last.previous_until) == ("e" * 64, "d" * 64, T0 + HOUR)

    async def test_what_is_revoked_or_unknown_is_not_rotated(self, storage: Storage) -> None:
        await storage.keys.add(FULL)
        for key_id in (FULL.id, "unknown"):
            assert not await storage.keys.rotate(key_id, Rotation("c" * 64, T0, timedelta(0)))
        assert await storage.keys.list() == [FULL]

    async def test_a_use_is_noted_once_a_minute(self, storage: Storage) -> None:
        await storage.keys.add(PLAIN)
        seen = []
        for seconds in (0, 59, 61, 62):
            await storage.keys.note_use(PLAIN.id, T0 + timedelta(seconds=seconds))
            key = await storage.keys.get(PLAIN.id)
            assert key is not None
            assert key.last_used_time is not None
            seen.append((key.last_used_time - T0).seconds)
        assert seen == [0, 0, 61, 61]

    async def test_a_session_ends_with_its_key(self, storage: Storage) -> None:
        await storage.keys.add(PLAIN)
        assert await storage.keys.add_session(SESSION, PLAIN.digest)
        other = replace(SESSION, id="t" * 16, made_from=None)
        assert await storage.keys.add_session(other, "of a token")
        assert await storage.keys.revoke(PLAIN.id, T0 + HOUR)
        assert await storage.keys.get(SESSION.id) == replace(SESSION, revoked_time=T0 + HOUR)
        assert await storage.keys.get(other.id) == other
        late = replace(SESSION, id="u" * 16)
        assert not await storage.keys.add_session(late, PLAIN.digest), "the key is revoked"
        assert await storage.keys.get(late.id) is None

    async def test_a_session_ends_with_the_secret_of_its_key(self, storage: Storage) -> None:
        await storage.keys.add(PLAIN)
        assert await storage.keys.add_session(SESSION, PLAIN.digest)
        assert await storage.keys.rotate(PLAIN.id, Rotation("c" * 64, T0, HOUR))
        assert await storage.keys.get(SESSION.id) == replace(SESSION, expires=T0 + HOUR)
        more = [replace(SESSION, id=letter * 16) for letter in "abc"]
        assert await storage.keys.add_session(more[0], PLAIN.digest), "in the overlap"
        assert await storage.keys.add_session(more[1], "c" * 64)
        assert not await storage.keys.add_session(more[2], "d" * 64)
        assert await storage.keys.rotate(PLAIN.id, Rotation("e" * 64, T0 + HOUR / 2, timedelta(0)))
        ends = [await storage.keys.get(each.id) for each in (SESSION, *more[:2])]
        assert [each.expires for each in ends if each is not None] == [T0 + HOUR / 2] * 3

    async def test_a_session_has_no_secret_to_change(self, storage: Storage) -> None:
        assert await storage.keys.add_session(replace(SESSION, made_from=None), "of a token")
        assert not await storage.keys.rotate(SESSION.id, Rotation("c" * 64, T0, HOUR))
        again = replace(SESSION, id="u" * 16, made_from=SESSION.id)
        assert not await storage.keys.add_session(again, SESSION.digest), "a session begins no other"

    async def test_sessions_are_forgotten_a_week_after_their_end(self, storage: Storage) -> None:
        old = replace(SESSION, made_from=None)
        assert await storage.keys.add_session(old, "of a token")
        new = replace(old, id="n" * 16, created_time=T0 + 7 * 24 * HOUR, expires=T0 + 8 * 24 * HOUR)
        assert await storage.keys.add_session(new, "of a token")
        assert await storage.keys.get(old.id) == old
        newer = replace(new, id="m" * 16, created_time=T0 + 8 * 24 * HOUR)
        assert await storage.keys.add_session(newer, "of a token")
        assert await storage.keys.get(old.id) is None
        assert await storage.keys.any()
