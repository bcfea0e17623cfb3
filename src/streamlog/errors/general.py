"""Every error streamlog raises, by Kafka's names (``FooException`` is ``FooError`` here).

* One root, `StreamlogError`; one marker, `RetriableError`: the same call may succeed later.
* A second parent is the nearest built-in: ``except ValueError``, ``except TimeoutError`` work.
* ``code`` is Kafka's wire number for the condition, None where Kafka has none.
* Errors that carry data take it as keyword arguments; it survives `pickle` and `copy`.

Source: Kafka ``org.apache.kafka.common.errors`` and ``protocol/Errors.java``; semantics C15.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from streamlog.topic_partition import TopicPartition


class StreamlogError(Exception):
    """Root of all streamlog errors. Catch it to catch everything streamlog raises on purpose."""

    code: ClassVar[int | None] = None

    def __reduce__(self) -> tuple[Callable[..., StreamlogError], tuple[Any, ...]]:
        # BaseException would call the class with `args` alone, which required keywords refuse.
        number = getattr(self, "errno", None)
        return _restore, (type(self), self.args, dict(self.__dict__), number)


def _restore(
    cls: type[StreamlogError], args: tuple[Any, ...], state: dict[str, Any], number: int | None
) -> StreamlogError:
    """Rebuild a pickled or copied error without running its constructor."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    if isinstance(error, OSError):
        error.errno = number  # lives in the C structure, not in __dict__
    return error


class RetriableError(StreamlogError):
    """Marker: the condition is temporary. Repeat the same call, perhaps after a pause."""


class IllegalStateError(StreamlogError, RuntimeError):
    """The call is not allowed in the object's present state, for example ``poll`` before
    ``subscribe`` or ``seek`` on a partition that is not assigned. Not retriable: a bug in the
    caller; nothing was changed. Java: ``IllegalStateException``.
    """


class ClosedError(IllegalStateError):
    """A producer, consumer, broker or file was used after ``close()``. Not retriable: open a new
    one.
    """


class ReadOnlyError(IllegalStateError):
    """A broker that was opened with ``read_only=True`` was asked to change something. Not retriable:
    do it in the process that has the directory open, or open it without once nobody has.
    """


class ForkedError(StreamlogError, RuntimeError):
    """An object opened before ``os.fork()`` was used in the child. Not retriable: open the broker
    in the process that uses it; the parent's remains valid in the parent.
    """


class ConcurrentModificationError(StreamlogError, RuntimeError):
    """A second thread entered a consumer in use (CON-2). Not retriable: one consumer per thread;
    only ``wakeup()`` may be called from outside.
    """


class WakeupError(StreamlogError):
    """``Consumer.wakeup()`` interrupted a blocking call, once (CON-2). Nothing was lost: leave the
    poll loop, or call again.
    """


class DeadlockError(StreamlogError, RuntimeError):
    """Under a virtual clock, a wait without a limit for something that no timer can bring. Not
    retriable: give the wait a timeout, or first do in the test what it waits for.
    """


# ---- configuration and data given by the caller


class InvalidConfigurationError(StreamlogError, ValueError):
    """A configuration key is unknown, not supported, of the wrong type or out of range, or two keys
    contradict each other. Not retriable: the message names the key, what is expected and what was
    found. Java: ``ConfigException``.
    """

    code = 40


class InvalidRequestError(StreamlogError, ValueError):
    """A request contradicts itself, such as the same partition named twice. Not retriable: correct
    it.
    """

    code = 42


class PolicyViolationError(StreamlogError):
    """The topic's configuration forbids it, such as deleting records where ``cleanup_policy`` lacks
    ``delete`` (RET-9). Not retriable: change the topic's configuration first.
    """

    code = 44


class SerializationError(StreamlogError, ValueError):
    """A serializer failed or gave something other than bytes (PRD-4). Raised by ``send`` itself,
    the record was not queued. Not retriable: correct the value or the serializer; the cause is
    chained.
    """


class RecordDecodeError(StreamlogError, ValueError):
    """A deserializer refused the bytes of a record. Not retriable: the bytes will not change;
    ``seek`` past ``offset`` to skip the record, or read it with another deserializer. Java:
    ``RecordDeserializationException``.
    """

    def __init__(
        self,
        message: str = "",
        *,
        topic_partition: TopicPartition | None = None,
        offset: int | None = None,
        origin: str | None = None,
    ) -> None:
        super().__init__(message)
        self.topic_partition = topic_partition
        """Where the record is, None when the decoder was called by hand."""
        self.offset = offset
        """The record's offset, None when the decoder was called by hand."""
        self.origin = origin
        """``"key"`` or ``"value"``, None when not known."""


class InvalidRecordError(StreamlogError, ValueError):
    """The broker refused a batch because of a record in it, for example a null key in a compacted
    topic (REC-7). Nothing of the batch was stored. Not retriable: correct the record.
    """

    code = 87


class InvalidTimestampError(StreamlogError, ValueError):
    """A record's timestamp is outside the topic's ``message_timestamp_before_max_ms`` ..
    ``message_timestamp_after_max_ms`` (REC-4). Nothing of the batch was stored. Not retriable.
    """

    code = 32


class RecordTooLargeError(StreamlogError, ValueError):
    """A record is larger than the producer's ``max_request_size`` or ``buffer_memory`` (REC-6). It
    was not queued. Not retriable: make the record smaller or raise the limit. Kafka sends the same
    code as for `MessageTooLargeError`, the broker's gate.
    """

    code = 10


class MessageTooLargeError(StreamlogError, ValueError):
    """A batch is larger than the topic's ``max_message_bytes`` (REC-6). Nothing was stored. The
    producer splits a batch of several records by itself; one record alone is not retriable.
    """

    code = 10


class RecordBatchTooLargeError(StreamlogError, ValueError):
    """A batch is larger than the topic's ``segment_bytes`` (REC-6). Nothing was stored. Not
    retriable: raise ``segment_bytes`` or lower ``batch_size``. Kafka's RECORD_LIST_TOO_LARGE.
    """

    code = 18


# ---- topics


class InvalidTopicError(StreamlogError, ValueError):
    """The topic name is not legal or collides with another (REC-5). Not retriable: rename."""

    code = 17


class TopicAlreadyExistsError(StreamlogError):
    """``create_topic`` of a name that exists. Not retriable: use the topic, or delete it first."""

    code = 36


class UnknownTopicOrPartitionError(RetriableError, LookupError):
    """The topic or partition does not exist here. Retriable, since someone may be about to create
    it; otherwise check the name, or create the topic.
    """

    code = 3


class NoNodeError(StreamlogError, LookupError):
    """There is no such path in the metadata tree. Not retriable: look with ``ls``. Source: ZooKeeper
    ``KeeperException.NoNodeException``.
    """


class InvalidPartitionsError(StreamlogError, ValueError):
    """A partition count below 1, or not above the present one (REC-11). Not retriable."""

    code = 37


class InvalidReplicationFactorError(StreamlogError, ValueError):
    """A replication factor below 1 or above the number of live brokers (REC-11). Not retriable
    until a broker is added.
    """

    code = 38


class NotLeaderOrFollowerError(RetriableError):
    """The broker no longer holds the partition (REP-8). Retriable: after a metadata refresh."""

    code = 6


# ---- reading


class OffsetOutOfRangeError(StreamlogError, IndexError):
    """A read or delete position is below the log start or above the log end (CON-5, RET-9). Not
    retriable: ``seek``, or set ``auto_offset_reset``.
    """

    code: ClassVar[int | None] = 1

    def __init__(
        self, message: str = "", *, offsets: Mapping[TopicPartition, int] | None = None
    ) -> None:
        super().__init__(message)
        self.offsets: dict[TopicPartition, int] = dict(offsets or {})
        """The position asked for, by partition; empty when the thrower knew no partition."""


class LogTruncationError(OffsetOutOfRangeError):
    """The log was cut below the consumer's position (REP-6, KIP-320), by a power loss or a change of
    leader, and there is no reset policy. Not retriable: ``offsets`` holds the positions; ``seek`` to
    where you want to continue.
    """

    code = None

    def __init__(
        self,
        message: str = "",
        *,
        offsets: Mapping[TopicPartition, int] | None = None,
        divergent_offsets: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        super().__init__(message, offsets=offsets)
        self.divergent_offsets: dict[TopicPartition, int] = dict(divergent_offsets or {})
        """The first offset known to differ from what was there before, by partition; a partition for
        which that is not known is in ``offsets`` alone."""


class NoOffsetForPartitionError(StreamlogError, LookupError):
    """Nothing was committed for these partitions and ``auto_offset_reset`` is ``"none"`` (CON-5).
    Not retriable: ``seek`` or commit a start first.
    """

    def __init__(self, message: str = "", *, partitions: Iterable[TopicPartition] = ()) -> None:
        super().__init__(message)
        self.partitions: tuple[TopicPartition, ...] = tuple(sorted(partitions))
        """The partitions without a position, sorted."""


class CorruptRecordError(RetriableError):
    """A batch's bytes do not match its checksum, in memory or on the way (Kafka's CORRUPT_MESSAGE).
    Retriable: fetch again. Damage found on disk is a `CorruptLogError` instead, which is not.
    """

    code = 2


# ---- storage


class StorageError(StreamlogError, OSError):
    """The file system refused a read or write of a log. Kafka would retry on another replica; here
    there is none, so not retriable: look at the cause's ``errno``, repair, open the directory
    again.
    """

    code = 56

    def __init__(self, message: str = "", *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class CorruptLogError(StreamlogError):
    """Bytes that were safely on disk are damaged. Not retriable. Everything outside
    ``first_bad_offset <= offset < next_good_offset`` stays readable: ``seek`` to
    ``next_good_offset`` to go on without the lost range, or restore the file from a copy.
    """

    def __init__(
        self,
        message: str = "",
        *,
        topic_partition: TopicPartition | None = None,
        first_bad_offset: int | None = None,
        next_good_offset: int | None = None,
        file: str = "",
        position: int = 0,
    ) -> None:
        super().__init__(message)
        self.topic_partition = topic_partition
        """Whose log it is, None for a file of the whole data directory."""
        self.first_bad_offset = first_bad_offset
        """The first offset that cannot be read, None where no offset is known."""
        self.next_good_offset = next_good_offset
        """The first readable offset after the damage, None when nothing readable follows."""
        self.file = file
        """The damaged file."""
        self.position = position
        """Where in the file, in bytes, the damage begins."""


class DataLossError(CorruptLogError):
    """Records that were acknowledged as durable are missing with the file that held them, or with its
    end. Not retriable: every use of the partition raises it, until the broker is opened with the file back in
    its place; other partitions are not concerned.
    """


class UnsupportedFormatError(StreamlogError):
    """The directory or file was written by a version with another format. Not retriable: nothing
    was changed; use that version, or upgrade the directory.
    """


class NotStreamlogDirectoryError(UnsupportedFormatError):
    """The directory holds files but is not a streamlog directory. Not retriable: nothing was
    changed; give an empty directory, or the right one.
    """


class AlreadyOpenError(StreamlogError, OSError):
    """Another broker has the directory open, here or in another process. Not retriable by itself:
    close the other broker, or wait until process ``pid`` ends; the lock never outlives its owner.
    """

    def __init__(
        self, message: str = "", *, path: str, pid: int | None = None, since: str | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        """The directory."""
        self.pid = pid
        """The owner's process id, None when the owner left no readable note."""
        self.since = since
        """When the owner opened it, as the owner wrote it, None when not known."""


class DiskFullError(RetriableError, OSError):
    """There is no room, quota or file size left. Nothing of the batch was stored. Retriable: once
    space is freed, the same call succeeds without reopening.
    """

    def __init__(self, message: str = "", *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class DurabilityError(StreamlogError, OSError):
    """A sync to disk failed, so it is not known whether what preceded it survives a power loss. Not
    retriable: after a failed sync the kernel may have dropped the pages, so a later success proves
    nothing. Close the broker and open it again; recovery reads what is really there.
    """

    def __init__(
        self, message: str = "", *, outcome: str = "unknown", errno: int | None = None
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        """What is known of the write: always ``"unknown"``."""
        self.errno = errno


# ---- producer


class StreamlogTimeoutError(RetriableError, TimeoutError):
    """The operation did not finish in the time given; its outcome may be unknown. Retriable.
    Java: ``org.apache.kafka.common.errors.TimeoutException``.
    """

    code: ClassVar[int | None] = 7


class BufferExhaustedError(StreamlogTimeoutError):
    """``buffer_memory`` stayed full for ``max_block_ms`` (PRD-6). The record was not queued.
    Retriable: send more slowly, or raise ``buffer_memory``.
    """

    code = None
