"""A topic to be created."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class NewTopic:
    """What ``Admin.create_topics`` takes. None means the broker's default.

    *configs* holds `TopicConfig` keys, with underscores or dots. Source: Kafka ``NewTopic``.
    """

    name: str
    partitions: int | None = None
    replication_factor: int | None = None
    configs: Mapping[str, object] | None = None
