"""Group commit: many waiting for the disk, one asking it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streamlog.errors import DurabilityError
from streamlog.runtime import Condition


class GroupCommit:
    """Makes a log durable up to an offset, with one ``fdatasync`` for all who wait meanwhile.

    The first to come is the leader: it syncs without holding anything, publishes how far that reached and wakes the others. Who
    arrived during a sync forms the next group. No artificial delay: with 16 threads on one partition the natural one already
    gives a dozen acknowledgements a sync.

    After a failed sync nothing is known about what is on the disk, and a later success would prove nothing (the kernel reports
    an error of writeback once and then forgets the pages). So the failure is final: everybody gets DurabilityError from then on.

    Threads: any.
    """

    def __init__(self, sync: Callable[[], int], describe: Callable[[], str]) -> None:
        """*sync* makes everything durable and returns the end offset that this covers; OSError from it is final."""
        self._sync = sync
        self._describe = describe
        self._condition = Condition()
        self._syncing = False
        self._failure: OSError | None = None
        #: Everything below this offset survives a power loss. Only grows, except by truncation.
        self.durable_end_offset = 0

    @property
    def failure(self) -> OSError | None:
        """The error that ended this log's durability, or None."""
        return self._failure

    def wait_for(self, end_offset: int) -> None:
        """Return once every record below *end_offset* survives a power loss. Raises DurabilityError when that is unknown."""
        with self._condition:
            while True:
                if self.durable_end_offset >= end_offset:
                    return
                if self._failure is not None:
                    raise self.error()
                if not self._syncing:
                    break
                self._condition.wait()
            self._syncing = True
        reached = 0
        failure: OSError | None = None
        try:
            reached = self._sync()
        except OSError as error:
            failure = error
        finally:
            with self._condition:
                self._syncing = False
                if failure is not None:
                    self.fail(failure)
                self.durable_end_offset = max(self.durable_end_offset, reached)
                self._condition.notify_all()
        if failure is not None:
            raise self.error() from failure

    def fail(self, failure: OSError) -> None:
        """Note that a sync failed, before :meth:`wait_for` gets to know: from now on `failure` says so."""
        with self._condition:
            if self._failure is None:
                self._failure = failure

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep every sync out: a truncation moves what they would sync. Waits for the one under way."""
        with self._condition:
            while self._syncing:
                self._condition.wait()
            if self._failure is not None:
                raise self.error()
            self._syncing = True
        try:
            yield
        finally:
            with self._condition:
                self._syncing = False
                self._condition.notify_all()

    def error(self) -> DurabilityError:
        """Return the DurabilityError to raise after a failed sync."""
        return DurabilityError(
            f"{self._describe()}: sync failed ({self._failure}); whether the records behind offset "
            f"{self.durable_end_offset} are on the disk is unknown. No more is appended: close the broker and open it again"
        )
