"""A small memory of what readers have just been told, for those who come to the same place a little later."""

from collections import OrderedDict

from ci_server.streaming.event_source import Batch, Place

_Key = tuple[str, Place]


class RecentBatches:
    """Batches by job and the place they begin at, all together at most `capacity` bytes; the oldest go first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._batches: OrderedDict[_Key, Batch] = OrderedDict()
        self.size = 0
        """Bytes that are held."""

    def find(self, job_id: str, place: Place) -> Batch | None:
        """Return what follows that place, or None where it is not known any more."""
        return self._batches.get((job_id, place))

    def add(self, job_id: str, place: Place, batch: Batch) -> None:
        """Hold a batch that will be the same for whoever comes to `place`."""
        key = job_id, place
        if key in self._batches or len(batch.frames) > self._capacity:
            return
        self._batches[key] = batch
        self.size += len(batch.frames)
        while self.size > self._capacity:
            _, oldest = self._batches.popitem(last=False)
            self.size -= len(oldest.frames)
