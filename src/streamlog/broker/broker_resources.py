"""What an open broker holds of the outside world, and how it is given back."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from streamlog.errors import ClosedError
from streamlog.runtime import pid

if TYPE_CHECKING:
    from streamlog.broker.maintenance import Maintenance
    from streamlog.broker.topic_registry import TopicRegistry
    from streamlog.errors import StreamlogError
    from streamlog.runtime import Runtime, Scheduler
    from streamlog.storage.data_directory import DataDirectory

_logger = logging.getLogger("streamlog")


class BrokerResources:
    """The thread, the logs and the locked directory behind one broker.

    Apart from the broker, so that they can be closed after nobody holds the broker any more. Only
    the process that opened them may close them; elsewhere `close` does nothing.
    """

    def __init__(
        self,
        runtime: Runtime,
        scheduler: Scheduler,
        directory: DataDirectory,
        maintenance: Maintenance,
        topics: TopicRegistry,
    ) -> None:
        self.runtime = runtime
        self.scheduler = scheduler
        self.directory = directory
        self.maintenance = maintenance
        self.topics = topics
        self._pid = pid()

    @property
    def belongs_to_this_process(self) -> bool:
        """Whether this process opened them, and not the one it was forked from."""
        return self._pid == pid()

    def close(self, error: StreamlogError) -> None:
        """Raise *error* from all later use, stop the timers, sync, mark the directory clean, unlock it.

        Raises what closing the directory raised; by then everything is given back all the same, and
        the next open recovers.
        """
        if not self.belongs_to_this_process:
            return
        self.scheduler.close()
        self.maintenance.cleaner.close(error)
        self.topics.refuse(error)
        try:
            self.maintenance.delete_retired_files()
        finally:
            self.directory.close()


_ORPHANS: Final[deque[BrokerResources]] = deque()


def leave_to_be_closed(resources: BrokerResources) -> None:
    """Take the resources of a broker that is being collected, to be closed by the next
    `close_orphans`. Takes no lock: the collector may run inside any other call, with locks held.
    """
    _ORPHANS.append(resources)


def close_orphans() -> None:
    """Close what was left by brokers that nobody closed. Called where no lock is held."""
    while True:
        try:
            resources = _ORPHANS.popleft()
        except IndexError:
            return
        try:
            resources.close(
                ClosedError("the broker was never closed, and nobody holds it any more")
            )
        except Exception:
            _logger.exception("Could not close a broker that was left open")
