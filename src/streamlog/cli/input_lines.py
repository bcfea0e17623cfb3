"""The lines of a file or a pipe, as soon as they are there, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK_BYTES = 64 * 1024


class ReadsWhatIsThere(Protocol):
    """A binary stream whose ``read1`` waits for the first byte only."""

    def read1(self, size: int = -1, /) -> bytes:
        """Return up to *size* bytes, none at the end."""


def lines_of(
    stream: ReadsWhatIsThere, limit_bytes: int, before_read: Callable[[], object]
) -> Iterator[bytes]:
    """Yield the lines of *stream* without their ends (LF or CRLF); the last one needs none.

    A line is there as soon as its end was read: nothing waits for a buffer to fill. *before_read* is
    called before each wait. Raises ValueError once a line is longer than *limit_bytes*, after those
    before it were yielded.
    """
    rest = b""
    while True:
        before_read()
        chunk = stream.read1(CHUNK_BYTES)
        if not chunk:
            break
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line[:-1] if line.endswith(b"\r") else line
        if len(rest) > limit_bytes:
            raise ValueError(f"the line is longer than {limit_bytes} bytes")
    if rest:
        yield rest
