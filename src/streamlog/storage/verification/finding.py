"""One thing that verification has to say."""

from __future__ import annotations

from enum import Enum

import attrs

from streamlog.structs import TopicPartition


class Severity(str, Enum):
    """What a finding means for whoever owns the data."""

    #: Records, or what says which there are, are damaged, missing or contradict each other. Nothing here repairs that.
    DAMAGE = "damage"
    #: A file that can be made again from the log does not agree with it: `repair` does it, and so does using the log.
    DERIVED = "derived"
    #: A file that the system does not let us read, for want of a permission or of descriptors: nobody knows what is in it.
    UNREADABLE = "unreadable"
    #: Worth knowing and nothing wrong: an end that is not finished, a directory that nobody asks for.
    NOTE = "note"


@attrs.frozen
class Finding:
    """Where something was found, and what."""

    severity: Severity
    #: What was expected and what was found, in one line.
    message: str
    #: The file or directory.
    path: str
    topic_partition: TopicPartition | None = None
    #: The first offset concerned, and the byte in the file; None where there is none.
    offset: int | None = None
    position: int | None = None

    def as_map(self) -> dict[str, str | int | None]:
        """Return the fields as plain values, for JSON."""
        partition = self.topic_partition
        return {
            "severity": self.severity.value,
            "path": self.path,
            "topic": None if partition is None else partition.topic,
            "partition": None if partition is None else partition.partition,
            "offset": self.offset,
            "position": self.position,
            "message": self.message,
        }
