"""What is held of streams."""

from ci_server.streaming.event_source import Batch, Next, Position, RecentBatches


def batch(size: int) -> Batch:
    return Batch(b"x" * size, Position(1, size), Next.MORE)


def test_the_oldest_go_when_there_is_too_much() -> None:
    recent = RecentBatches(100)
    for position in range(5):
        recent.add("job", Position(1, position), batch(30))
        assert recent.size <= 100
    assert [recent.find("job", Position(1, position)) is not None for position in range(5)] == [0, 0, 1, 1, 1]
    assert recent.find("other", Position(1, 4)) is None
    assert recent.find("job", Position(1, 4, last_status=b"running")) is None


def test_the_same_position_counts_once_and_what_is_too_large_not_at_all() -> None:
    recent = RecentBatches(100)
    recent.add("job", Position(1, 0), batch(60))
    recent.add("job", Position(1, 0), batch(60))
    recent.add("job", Position(1, 1), batch(101))
    assert recent.size == 60
