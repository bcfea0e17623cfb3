"""Records of a response, as the parts that they are in."""

from __future__ import annotations

from typing import Any


class RecordParts:
    """Batches that follow each other. As the value of a ``records`` field it is written part by part: joining them would copy all once more.

    ``len`` is of the bytes.
    """

    __slots__ = ("parts", "size_bytes")

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.size_bytes = 0

    def __len__(self) -> int:
        return self.size_bytes

    def add(self, part: bytes | bytearray) -> None:
        """Put *part* behind the others; it is not to be changed any more."""
        self.parts.append(part)
        self.size_bytes += len(part)
