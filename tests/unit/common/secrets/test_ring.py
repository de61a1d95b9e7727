"""The key ring: what it seals, it opens in the same place, and nothing else does."""

import base64
import os
import threading
from pathlib import Path

import pytest

from ci_common.secrets.ring import KeyRing, KeyRingUnusable
from ci_common.secrets.stored import place_of

PLACE = place_of("website", "TOKEN")
VALUE = "correct-horse-battery-ünïcödé"


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "secrets.keys")


def test_what_is_sealed_comes_back_in_its_place_alone(ring: KeyRing) -> None:
    sealed = ring.seal(VALUE, PLACE)
    assert VALUE not in sealed
    assert ring.seal(VALUE, PLACE) != sealed, "a nonce is used once"
    assert ring.unseal(sealed, PLACE) == VALUE
    places = [place_of(None, "TOKEN"), place_of("", "TOKEN"), place_of("website", "OTHER"), ("keys", *PLACE[1:])]
    places += [place_of("website\0TOKEN", ""), place_of('website", "TOKEN', "")]
    for other in places:
        with pytest.raises(KeyRingUnusable, match="belongs elsewhere"):
            ring.unseal(sealed, other)


def test_what_a_killed_process_has_left_is_removed_with_the_next_write(ring: KeyRing) -> None:
    abandoned, present = (ring.path.with_name(f"{ring.path.name}.{name}.new") for name in ("1", "2"))
    for draft in (abandoned, present):
        draft.write_text("{}")
    os.utime(abandoned, (0, 0))
    ring.seal(VALUE, PLACE)
    assert sorted(ring.path.parent.iterdir()) == sorted([ring.path, present])


def test_what_was_changed_does_not_open(ring: KeyRing) -> None:
    head, data = ring.seal(VALUE, PLACE).rsplit(".", 1)
    raw = bytearray(base64.b64decode(data))
    for position in (0, 12, len(raw) - 1):
        changed = bytearray(raw)
        changed[position] ^= 1
        with pytest.raises(KeyRingUnusable, match="cannot be opened"):
            ring.unseal(f"{head}.{base64.b64encode(changed).decode()}", PLACE)
    for text in ("", "v1", f"{head}.", f"{head}.!!", "v1..AAAA", f"v2{head[2:]}.{data}"):
        with pytest.raises(KeyRingUnusable, match=r".+"):
            ring.unseal(text, PLACE)


def test_the_file_is_made_on_first_use_and_closed_to_others(ring: KeyRing) -> None:
    assert not ring.exists()
    ring.seal(VALUE, PLACE)
    assert ring.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in ring.path.parent.iterdir()] == ["secrets.keys"]
    ring.path.chmod(0o640)
    with pytest.raises(KeyRingUnusable, match="chmod 600"):
        ring.seal(VALUE, PLACE)


def test_the_newest_key_seals_and_earlier_ones_open(ring: KeyRing) -> None:
    first = ring.seal(VALUE, PLACE)
    other = KeyRing(ring.path)
    other.add_key()
    assert not ring.is_newest(first), "the ring of a process that runs is read again"
    second = ring.seal(VALUE, PLACE)
    assert ring.is_newest(second)
    assert ring.unseal(first, PLACE) == ring.unseal(second, PLACE) == VALUE
    other.add_key()
    assert other.keep_two() == 1
    assert ring.unseal(second, PLACE) == VALUE
    with pytest.raises(KeyRingUnusable, match="has no key"):
        ring.unseal(first, PLACE)


def test_processes_that_make_it_at_once_make_one(tmp_path: Path) -> None:
    rings = [KeyRing(tmp_path / "secrets.keys") for _ in range(8)]
    sealed: list[str] = []
    threads = [threading.Thread(target=lambda ring=ring: sealed.append(ring.seal(VALUE, PLACE))) for ring in rings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {rings[0].unseal(each, PLACE) for each in sealed} == {VALUE}
    assert len(rings[0].read()) == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"id": "a", "created": "", "key": "AA=="}]}']
)
def test_a_file_that_is_no_ring_is_named(ring: KeyRing, content: str) -> None:
    ring.path.write_text(content)
    ring.path.chmod(0o600)
    with pytest.raises(KeyRingUnusable, match="put a copy of it back"):
        ring.seal(VALUE, PLACE)


def test_a_ring_that_is_gone_is_not_made_again_to_open(ring: KeyRing) -> None:
    sealed = ring.seal(VALUE, PLACE)
    ring.path.unlink()
    with pytest.raises(KeyRingUnusable, match="CI_SECRETS_KEYRING"):
        ring.unseal(sealed, PLACE)
    assert not ring.exists()


def test_a_key_is_in_no_message(ring: KeyRing) -> None:
    ring.seal(VALUE, PLACE)
    (key,) = ring.read()
    assert base64.b64encode(key.key).decode() not in repr(key)
    assert repr(key.key)[2:-1] not in repr(key)
