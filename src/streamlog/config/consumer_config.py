"""The configuration of a consumer. Source: Kafka ``ConsumerConfig``; rules CON-1, CON-5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from streamlog.config.definition import Config, option
from streamlog.config.iso_duration import parse_duration_ms
from streamlog.config.kinds import (
    INT_MAX,
    boolean,
    checked_text,
    choice,
    id_text,
    integer,
    nullable,
    objects,
    plugin,
    plugins,
    text,
)
from streamlog.config.plugin_names import ASSIGNOR_NAMES, SERDE_NAMES
from streamlog.config.unsupported import UNSUPPORTED_CONSUMER_KEYS
from streamlog.errors import InvalidConfigurationError
from streamlog.structs import Isolation

_DESERIALIZER = plugin("a deserializer", SERDE_NAMES, "deserialize")
_BY_DURATION = "by_duration:"
_KEYS_OF_OTHER_PROTOCOL: Mapping[str, tuple[str, ...]] = {
    "classic": ("group_remote_assignor",),
    "consumer": ("partition_assignment_strategy", "session_timeout_ms"),
}


def _check_reset(policy: str) -> None:
    if policy in ("earliest", "latest", "none"):
        return
    if not policy.startswith(_BY_DURATION):
        raise ValueError
    parse_duration_ms(policy[len(_BY_DURATION) :])


@attrs.frozen(kw_only=True)
class ConsumerConfig(Config):
    """Where a consumer starts, how much it fetches, and how it commits."""

    unsupported: ClassVar[Mapping[str, str]] = UNSUPPORTED_CONSUMER_KEYS

    client_id: str = option(
        text(), "", "The beginning of the member id; empty means `consumer-` and the group."
    )
    group_id: str | None = option(
        nullable(id_text(), "no group"),
        None,
        "The consumer group; needed for `subscribe` and for commits.",
    )
    group_instance_id: str | None = option(
        nullable(id_text(), "a dynamic member"),
        None,
        "The name of a static member, which keeps its place in the group while it is away for less"
        " than `session_timeout_ms`, or the broker's `group_consumer_session_timeout_ms` without"
        " `group_protocol='classic'`.",
    )
    session_timeout_ms: int = option(
        integer(1, INT_MAX),
        45_000,
        "How long a static member may be away; with `group_protocol='classic'`.",
    )
    key_deserializer: Any = option(_DESERIALIZER, None, "Makes keys of bytes; None gives bytes.")
    value_deserializer: Any = option(
        _DESERIALIZER, None, "Makes values of bytes; None gives bytes."
    )
    auto_offset_reset: str = option(
        checked_text(
            "'earliest', 'latest', 'none' or 'by_duration:' with a duration", _check_reset
        ),
        "latest",
        "Where to start without a committed offset, or when it is out of range: `earliest`, `latest`,"
        " `none` (an error), or `by_duration:PT1H` before now.",
    )
    enable_auto_commit: bool = option(
        boolean(), True, "Positions are committed inside `poll`; False without a `group_id`."
    )
    auto_commit_interval_ms: int = option(
        integer(0, INT_MAX), 5000, "How often positions are committed automatically."
    )
    fetch_min_bytes: int = option(
        integer(0, INT_MAX), 1, "A fetch waits for so many bytes, within `fetch_max_wait_ms`."
    )
    fetch_max_wait_ms: int = option(
        integer(0, INT_MAX), 500, "How long a fetch waits for `fetch_min_bytes`."
    )
    fetch_max_bytes: int = option(
        integer(0, INT_MAX),
        52_428_800,
        "Bytes of one fetch over all partitions, at least one batch.",
    )
    max_partition_fetch_bytes: int = option(
        integer(0, INT_MAX), 1_048_576, "Bytes of one fetch from one partition, at least one batch."
    )
    max_poll_records: int = option(
        integer(1, INT_MAX),
        500,
        "Records one `poll` returns at most; the rest is kept for the next.",
    )
    max_poll_interval_ms: int = option(
        integer(1, INT_MAX),
        300_000,
        "A member that does not poll for this long loses its partitions.",
    )
    isolation_level: Isolation = option(
        choice((Isolation.READ_UNCOMMITTED, Isolation.READ_COMMITTED)),
        Isolation.READ_UNCOMMITTED,
        "Whether records of open and aborted transactions are returned.",
    )
    default_api_timeout_ms: int = option(
        integer(0, INT_MAX), 60_000, "How long calls without their own timeout may take."
    )
    check_crcs: bool = option(boolean(), True, "Checksums of batches are verified when read.")
    allow_auto_create_topics: bool = option(
        boolean(), True, "Subscribing creates missing topics, if the broker allows it as well."
    )
    interceptors: tuple[Any, ...] = option(
        objects(("on_consume", "on_commit")),
        (),
        "Objects whose `on_consume` and `on_commit` see records and commits, in this order.",
    )
    partition_assignment_strategy: tuple[Any, ...] = option(
        plugins("a `PartitionAssignor`", ASSIGNOR_NAMES, "assign"),
        ("range", "cooperative-sticky"),
        "How the leader shares partitions out with `group_protocol='classic'`, the preferred way"
        " first: all members need one in common. Nobody stops reading for a rebalance if all of them"
        " are cooperative.",
    )
    group_remote_assignor: str = option(
        choice(("range", "uniform")),
        "range",
        "How the coordinator shares partitions out with `group_protocol='consumer'`; most votes win.",
    )
    exclude_internal_topics: bool = option(
        boolean(), True, "A pattern subscription leaves out topics such as `__consumer_offsets`."
    )
    group_protocol: str = option(
        choice(("consumer", "classic")),
        "consumer",
        "Who shares partitions out: the coordinator, member by member (`consumer`, KIP-848), or a"
        " member that leads, for all at once (`classic`).",
    )

    @property
    def auto_offset_reset_duration_ms(self) -> int | None:
        """How far before now to start under ``by_duration:``, None under the other policies."""
        if not self.auto_offset_reset.startswith(_BY_DURATION):
            return None
        return parse_duration_ms(self.auto_offset_reset[len(_BY_DURATION) :])

    @classmethod
    def complete(cls, given: dict[str, object]) -> dict[str, object]:
        """Without a group, turn auto-commit off when it was left to its default, as Kafka does.

        Refuses what the group protocol in use has no meaning for (NGP-5).
        """
        protocol = given.get("group_protocol", "consumer")
        for key in _KEYS_OF_OTHER_PROTOCOL[str(protocol)]:
            if key in given:
                raise InvalidConfigurationError(
                    f"ConsumerConfig: {key} has no meaning with group_protocol={protocol!r}"
                )
        if given.get("group_id") is not None:
            return given
        if given.get("enable_auto_commit"):
            raise InvalidConfigurationError(
                "ConsumerConfig: enable_auto_commit: expected False without a group_id, found True"
            )
        return {**given, "enable_auto_commit": False}
