"""Records of a response, as the parts that they are in."""

from __future__ import annotations

from typing import Any


class RecordParts:
    """Batches that follow each other. As the value of a ``records`` field it is written part by part: joining them would copy all once more.

    ``len`` is of the bytes.
    """

    __slots__ = ("parts", "size_bytes")

    def __init__(self, parts: list[Any], size_bytes: int) -> None:
        """Put together *parts*, bytes that are not to be changed any more, *size_bytes* of them in all."""
        self.parts = parts
        self.size_bytes = size_bytes

    def __len__(self) -> int:
        return self.size_bytes
