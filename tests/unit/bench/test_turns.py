"""Who acts when."""

from bench.frame.turns import in_turns


async def test_contenders_alternate_and_nobody_always_follows_the_same() -> None:
    acted: list[str] = []

    async def act(name: str) -> int:
        acted.append(name)
        return len(acted)

    async def settle() -> None:
        acted.append("-")

    contenders = {name: lambda name=name: act(name) for name in "abc"}
    taken = await in_turns(3, contenders, settle=settle)
    assert "".join(acted) == "-a-b-c-b-c-a-c-a-b-a-b-c"
    assert taken == {"a": [12, 16, 20], "b": [8, 18, 22], "c": [10, 14, 24]}
