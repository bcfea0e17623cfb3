"""Producer ids: each is given out once in the life of a data directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.runtime import Lock

if TYPE_CHECKING:
    from streamlog.storage.data_directory import DataDirectory

IDS_PER_GENERATION = 1_000_000
"""So many ids belong to each generation of the directory."""


class ProducerIds:
    """Hands out producer ids from the directory's generation, which grows durably with each open.

    An id is ``generation * IDS_PER_GENERATION + n``, so that it costs no write of its own: whatever
    this process gave out, the next one has another generation, after a loss of power as well. Threads:
    any. Source: Kafka ``ProducerIdManager``, whose blocks of 1,000 the controller hands out.
    """

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._lock = Lock()
        self._next_id = self._end_id = 0
        self._begin(directory.generation)

    @property
    def block(self) -> tuple[int, int]:
        """The first and the last of the ids that are being given out."""
        with self._lock:
            return self._end_id - IDS_PER_GENERATION, self._end_id - 1

    def take(self) -> int:
        """Return an id that nobody in this directory had before, nor ever will again.

        The first of every further million raises the directory's generation, and so what that raises:
        OSError, ClosedError. Nothing was given out then.
        """
        with self._lock:
            if self._next_id >= self._end_id:
                self._begin(self._directory.raise_generation())
            producer_id = self._next_id
            self._next_id = producer_id + 1
        return producer_id

    def pass_over(self, producer_id: int) -> None:
        """Give out only greater ids than *producer_id*, which was found in use. Costs nothing where
        that is so already; else it raises the generation, and what that raises.
        """
        with self._lock:
            if producer_id >= self._next_id:
                least = producer_id // IDS_PER_GENERATION + 1
                self._begin(self._directory.raise_generation(least))

    def _begin(self, generation: int) -> None:
        first_id = generation * IDS_PER_GENERATION
        self._next_id, self._end_id = first_id, first_id + IDS_PER_GENERATION
