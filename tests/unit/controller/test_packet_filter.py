"""The rules of the packet filter where another controller removes the chains while they are put in place."""

import pytest

from ci_controller.runtime.docker.confining import packet_filter
from ci_controller.runtime.docker.confining.packet_filter import CannotFilter, PacketFilter


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> "Runs":
    runs = Runs()
    monkeypatch.setattr(packet_filter, "_run", runs)
    monkeypatch.setattr(packet_filter, "_tool", lambda _: None)
    monkeypatch.setattr(PacketFilter, "check", staticmethod(lambda: None))
    return runs


class Runs:
    """The programs of the packet filter; the chains are gone for the first `gone` rules that lead to them."""

    def __init__(self) -> None:
        self.gone = 0
        self.restored = 0

    def __call__(self, name: str, *arguments: str, given: str | None = None) -> str:
        self.restored += name == "iptables-restore"
        if "--insert" in arguments and self.gone:
            self.gone -= 1
            raise CannotFilter("iptables refuses the rules: Chain does not exist")
        if "--check" in arguments:
            raise CannotFilter("no such rule")
        return ""


async def test_chains_that_are_removed_are_made_again(runs: Runs) -> None:
    runs.gone = 2
    await PacketFilter("one").install([])
    assert runs.restored == 3


async def test_what_is_always_refused_is_given_up(runs: Runs) -> None:
    runs.gone = 100
    with pytest.raises(CannotFilter, match="Chain does not exist"):
        await PacketFilter("one").install([])
