"""What can go wrong between a consumer and its group."""

from __future__ import annotations

from streamlog.errors.general import RetriableError, StreamlogError


class InvalidGroupIdError(StreamlogError, ValueError):
    """``commit`` or ``subscribe`` without a valid ``group_id`` (CON-3). Not retriable: configure
    one.
    """

    code = 24


class GroupIdNotFoundError(StreamlogError):
    """The group does not exist. Not retriable: check the name with ``list_consumer_groups``."""

    code = 69


class GroupNotEmptyError(StreamlogError):
    """The group still has members (GRP-12). Not retriable: close its consumers, then try again."""

    code = 68


class GroupSubscribedToTopicError(StreamlogError):
    """Offsets of a topic cannot be deleted while members of the group read it. Not retriable: close
    them, or unsubscribe, first.
    """

    code = 86


class CoordinatorNotAvailableError(RetriableError):
    """The group's coordinator is starting, moving or closing. Retriable: after a pause."""

    code = 15


class CommitFailedError(StreamlogError):
    """The consumer is no longer a member, so its partitions may belong to another (CON-11). Not
    retriable: poll again to rejoin; the records since the last commit will be delivered again.
    """


class RetriableCommitFailedError(RetriableError):
    """A ``commit_async`` failed for a temporary reason (CON-10). Retriable: commit again, newer
    offsets if there are any.
    """


class RebalanceInProgressError(StreamlogError):
    """The group is between assignments (CON-11). Not retriable as it is: poll, then commit again
    what is still assigned.
    """

    code = 27


class IllegalGenerationError(StreamlogError):
    """The request belongs to an earlier generation of the group (GRP-7). Not retriable: rejoin."""

    code = 22


class UnknownMemberIdError(StreamlogError):
    """The coordinator does not know the member: it left or was evicted. Not retriable: rejoin."""

    code = 25


class MemberIdRequiredError(StreamlogError):
    """A first join was given its ``member_id`` (GRP-2, KIP-394). Not retriable as it is: join again with
    that id, which the consumer does by itself.
    """

    code = 79

    def __init__(self, message: str = "", *, member_id: str = "") -> None:
        super().__init__(message)
        self.member_id = member_id
        """The id to join with."""


class FencedInstanceIdError(StreamlogError):
    """Another consumer has joined with the same ``group_instance_id`` since (GRP-11). Not retriable:
    close this one.
    """

    code = 82


class UnreleasedInstanceIdError(StreamlogError):
    """A consumer with the same ``group_instance_id`` is in the group and has not left, with
    ``group_protocol="consumer"`` (NGP-4). Not retriable as it is: close that one, then poll again.
    """

    code = 111


class InconsistentGroupProtocolError(StreamlogError, ValueError):
    """The members of a classic group have no assignor in common (GRP-6). Not retriable: configure one
    that all of them have.
    """

    code = 23


class InvalidSessionTimeoutError(StreamlogError, ValueError):
    """``session_timeout_ms`` is outside the broker's bounds (GRP-6). Not retriable."""

    code = 26


class GroupMaxSizeReachedError(StreamlogError):
    """The group has ``group_max_size`` or ``group_consumer_max_size`` members already (GRP-6), or all groups together keep
    ``group_metadata_max_bytes`` of what members in other processes said. Not retriable: close one of them.
    """

    code = 81


class FencedMemberEpochError(StreamlogError):
    """The member's epoch is not one the coordinator can continue from (NGP-4). Not retriable: drop
    all partitions and join again with epoch 0, which the consumer does by itself.
    """

    code = 110


class StaleMemberEpochError(StreamlogError):
    """A commit carried an epoch older than the member's present one (NGP-4). Not retriable as it
    is: poll to learn the new epoch, then commit again.
    """

    code = 113


class OffsetMetadataTooLargeError(StreamlogError, ValueError):
    """The metadata string of a commit exceeds ``offset_metadata_max_bytes`` (CON-9). Nothing was
    committed. Not retriable: shorten it.
    """

    code = 12
