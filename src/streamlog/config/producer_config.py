"""The configuration of a producer. Source: Kafka ``ProducerConfig``; rules PRD-1 to PRD-3."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import attrs

from streamlog.config.codecs import CODECS, gzip_level, lz4_level, zstd_level
from streamlog.config.definition import Config, option
from streamlog.config.kinds import (
    INT_MAX,
    boolean,
    choice,
    id_text,
    integer,
    nullable,
    number,
    objects,
    plugin,
    text,
)
from streamlog.config.plugin_names import PARTITIONER_NAMES, SERDE_NAMES
from streamlog.config.unsupported import (
    UNSUPPORTED_PRODUCER_KEYS,
)
from streamlog.errors import InvalidConfigurationError

_logger = logging.getLogger("streamlog")
_MAX_IN_FLIGHT_WITH_IDEMPOTENCE = 5
_SERIALIZER = plugin("a serializer", SERDE_NAMES, "serialize")


@attrs.frozen(kw_only=True)
class ProducerConfig(Config):
    """How records become bytes, wait, are tried again and given up."""

    aliases: ClassVar[Mapping[str, str]] = {
        "max_in_flight": "max_in_flight_requests_per_connection"
    }
    unsupported: ClassVar[Mapping[str, str]] = UNSUPPORTED_PRODUCER_KEYS

    client_id: str = option(text(), "", "A name for messages and logs.")
    key_serializer: Any = option(_SERIALIZER, None, "Turns keys into bytes; None takes bytes.")
    value_serializer: Any = option(_SERIALIZER, None, "Turns values into bytes; None takes bytes.")
    acks: Literal["all", 0, 1] = option(
        choice(
            ("all", 0, 1),
            spellings={-1: "all", "-1": "all", "0": 0, "1": 1},
        ),
        "all",
        "Who must have a record before its future is done: nobody, the leader, all in-sync replicas."
        " -1 is `all`.",
    )
    linger_ms: float = option(
        number(0),
        0,
        "How long a batch waits for company. 0 appends in `send` itself, before it returns; Kafka's"
        " default is 5.",
    )
    batch_size: int = option(
        integer(0, INT_MAX), 16_384, "A batch of this many bytes waits no longer; 0 is taken as 1."
    )
    buffer_memory: int = option(
        integer(0), 33_554_432, "So many bytes may wait in the producer; then `send` blocks."
    )
    max_block_ms: int = option(
        integer(0),
        60_000,
        "How long `send` may block for room in `buffer_memory`, and a call about transactions in all.",
    )
    max_request_size: int = option(
        integer(0, INT_MAX), 1_048_576, "A larger record is refused by `send`."
    )
    delivery_timeout_ms: int = option(
        integer(0, INT_MAX),
        120_000,
        "A record that is not acknowledged this long after `send` fails. At least `linger_ms` +"
        " `request_timeout_ms`; the default is raised to that.",
    )
    request_timeout_ms: int = option(
        integer(0, INT_MAX),
        30_000,
        "How long one attempt may take. An append is a call that nobody waits for beyond its return, so"
        " this has no effect but the least `delivery_timeout_ms` there may be.",
    )
    retries: int = option(
        integer(0, INT_MAX),
        2_147_483_647,
        "How often a batch is tried again after a retriable error, within `delivery_timeout_ms`.",
    )
    retry_backoff_ms: int = option(
        integer(0), 100, "The pause before the first retry; it doubles with each further one."
    )
    retry_backoff_max_ms: int = option(
        integer(0), 1000, "The longest pause between retries; also the first, when that is longer."
    )
    max_in_flight_requests_per_connection: int = option(
        integer(1, INT_MAX),
        5,
        "How many batches may be on their way at once. Kept whatever it is: of each partition only"
        " one ever is, in every producer, so that retries cannot reorder.",
    )
    partitioner: Any = option(
        plugin("a partitioner", PARTITIONER_NAMES, "partition"),
        None,
        "Chooses the partition of a record without one; None is Kafka's default, which is `murmur2`.",
    )
    partitioner_ignore_keys: bool = option(
        boolean(), False, "The default partitioner treats every key as null."
    )
    partitioner_adaptive_partitioning_enable: bool = option(
        boolean(), True, "Records without a key go more often to partitions with shorter queues."
    )
    interceptors: tuple[Any, ...] = option(
        objects(("on_send", "on_acknowledgement")),
        (),
        "Objects whose `on_send` and `on_acknowledgement` see every record, in this order.",
    )
    enable_idempotence: bool = option(
        boolean(),
        True,
        "Retries cannot duplicate or reorder. Needs `acks=all`, `retries` above 0 and at most 5 batches on"
        " their way; left to its default it is off where `acks` or `retries` say otherwise.",
    )
    transactional_id: str | None = option(
        nullable(id_text(), "no transactions"),
        None,
        "The name of a transactional producer, the same after each restart; needs idempotence. Of two with"
        " the same name the newer wins.",
    )
    transaction_timeout_ms: int = option(
        integer(1, INT_MAX),
        60_000,
        "A transaction that is open this long is aborted, and its producer fenced; at most the broker's"
        " `transaction_max_timeout_ms`.",
    )
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = option(
        choice(CODECS),
        "none",
        "How batches are compressed, as a whole: the larger the batch, the better. All but `none` need"
        " the extra `compression`.",
    )
    compression_gzip_level: int = gzip_level()
    compression_lz4_level: int = lz4_level()
    compression_zstd_level: int = zstd_level()

    @classmethod
    def complete(cls, given: dict[str, object]) -> dict[str, object]:
        """Turn ``enable_idempotence`` off where it was left to its default and ``acks`` or ``retries`` do
        without (PRD-2); raise a ``delivery_timeout_ms`` that was left to its default, with a warning
        (PRD-3).
        """
        if "enable_idempotence" not in given:
            _check_in_flight(
                given.get("max_in_flight_requests_per_connection", _MAX_IN_FLIGHT_WITH_IDEMPOTENCE)
            )
            if given.get("acks", "all") != "all" or given.get("retries") == 0:
                given = {**given, "enable_idempotence": False}
        if "delivery_timeout_ms" in given:
            return given
        fields = attrs.fields(cls)
        linger: Any = given.get("linger_ms", fields.linger_ms.default)
        request: Any = given.get("request_timeout_ms", fields.request_timeout_ms.default)
        least = min(math.ceil(linger + request), INT_MAX)
        if least <= fields.delivery_timeout_ms.default:
            return given
        _logger.warning("delivery_timeout_ms raised to linger_ms + request_timeout_ms = %d", least)
        return {**given, "delivery_timeout_ms": least}

    def check_together(self) -> None:
        """Raise when idempotence is asked for next to what excludes it (PRD-2), when a record would be
        given up before its first attempt could end (PRD-3), or when keys are to be ignored by a
        partitioner that would not (PRD-11; Kafka keeps silent there).
        """
        if self.enable_idempotence:
            self._check_idempotence()
        elif self.transactional_id is not None:
            raise InvalidConfigurationError(
                f"ProducerConfig: transactional_id: expected enable_idempotence next to"
                f" {self.transactional_id!r}, found enable_idempotence=False, acks={self.acks!r},"
                f" retries={self.retries}"
            )
        if self.partitioner_ignore_keys and self.partitioner not in (None, "murmur2"):
            raise InvalidConfigurationError(
                f"ProducerConfig: partitioner_ignore_keys: expected False with a partitioner other"
                f" than the default, found True with partitioner={self.partitioner!r}"
            )
        if self.batch_size == 0:
            object.__setattr__(self, "batch_size", 1)  # PRD-1
        least = min(self.linger_ms + self.request_timeout_ms, INT_MAX)
        if self.delivery_timeout_ms < least:
            raise InvalidConfigurationError(
                f"ProducerConfig: delivery_timeout_ms: expected at least linger_ms +"
                f" request_timeout_ms ({self.linger_ms} + {self.request_timeout_ms}),"
                f" found {self.delivery_timeout_ms}"
            )

    def _check_idempotence(self) -> None:
        found = None
        if self.acks != "all":
            found = f"acks={self.acks}"
        elif self.retries == 0:
            found = "retries=0"
        if found is not None:
            raise InvalidConfigurationError(
                "ProducerConfig: enable_idempotence: expected acks='all' and retries above 0 next to True,"
                f" found {found}; without them give enable_idempotence=False"
            )
        _check_in_flight(self.max_in_flight_requests_per_connection)


def _check_in_flight(batches: Any) -> None:
    if batches > _MAX_IN_FLIGHT_WITH_IDEMPOTENCE:
        raise InvalidConfigurationError(
            "ProducerConfig: max_in_flight_requests_per_connection: expected at most"
            f" {_MAX_IN_FLIGHT_WITH_IDEMPOTENCE} with idempotence, found {batches}; without it give"
            " enable_idempotence=False"
        )
