"""Answers on their way to one client."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Transport
    from collections.abc import Iterable, Iterator

    from streamlog.wire.request_memory import ResponseMemory

#: What the transport is given at once.
_PIECE_BYTES = 256 * 1024
#: An answer is held back for what comes behind it only while there are few of them, and small ones: else that takes longer than to
#: send them.
_MOST_HELD = 16
_SMALL_BYTES = 16 * 1024


class Outbox:
    """Hands answers to the transport, as many at once as there are, and as much as the client reads. Threads: the listener's loop."""

    def __init__(self, loop: AbstractEventLoop, memory: ResponseMemory) -> None:
        self._loop = loop
        self._memory = memory
        self._transport: Transport | None = None
        self._unsent: deque[Any] = deque()
        self._is_holding = False
        self.is_full = False
        """Whether the client does not read."""
        self.unsent_bytes = 0
        """What it has not read, as long as it does not."""
        self._unsent_since_s = 0.0

    def open(self, transport: Transport) -> None:
        """Send to *transport* from now on."""
        self._transport = transport

    def close(self) -> None:
        """Forget what was not sent."""
        self._transport = None
        self._unsent.clear()
        self._note_unsent(0)

    def is_unread_for(self, seconds: float) -> bool:
        """Return whether there is something, of which the client has read nothing for longer than that, as far as this was asked or sent on
        meanwhile: who reads slowly reads.
        """
        transport = self._transport
        if transport is not None and self.unsent_bytes:
            self._note_unsent(transport.get_write_buffer_size() + sum(map(len, self._unsent)))
        return self.unsent_bytes > 0 and self._loop.time() - self._unsent_since_s > seconds

    def pause(self) -> None:
        """The client does not read."""
        self.is_full = True

    def resume(self) -> None:
        """It does again."""
        self.is_full = False
        self._unsent_since_s = self._loop.time()
        self.send()

    def hold(self) -> None:
        """Wait with small answers for `send`: there are more to come at once, and each piece that is sent wakes the client."""
        self._is_holding = True

    def add(self, parts: list[Any]) -> None:
        """Send one answer, whose *parts* are bytes."""
        unsent = self._unsent
        if len(parts) == 1:
            unsent.append(parts[0])
        else:
            unsent.extend(_joined(parts))
        if not self._is_holding or len(unsent) >= _MOST_HELD or len(unsent[-1]) > _SMALL_BYTES:
            self._send()

    def send(self) -> None:
        """Send what was held back, and hold back nothing more."""
        self._is_holding = False
        if self._unsent or self.unsent_bytes:
            self._send()

    def _send(self) -> None:
        """Give the transport what it takes: a large answer at once would be copied, and the others wait meanwhile."""
        transport, unsent = self._transport, self._unsent
        if transport is None:
            return
        if len(unsent) > 1:
            pieces = list(_joined(unsent))
            unsent.clear()
            unsent.extend(pieces)
        while unsent and not self.is_full:
            # writelines() of Python 3.12.0 to 3.13.1 never says that the client does not read (CVE-2024-12254).
            transport.write(unsent.popleft())
        if self.is_full:
            self._note_unsent(transport.get_write_buffer_size() + sum(map(len, unsent)))
        elif self.unsent_bytes:
            self._note_unsent(0)

    def _note_unsent(self, size: int) -> None:
        if not self.unsent_bytes or size < self.unsent_bytes:
            self._unsent_since_s = self._loop.time()
        self._memory.used_bytes += size - self.unsent_bytes
        self.unsent_bytes = size


def _joined(parts: Iterable[Any]) -> Iterator[Any]:
    """Return the bytes of *parts*, of which there are some, in pieces that are neither many nor large."""
    piece: list[Any] = []
    size = 0
    for part in parts:
        if piece and size + len(part) > _PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(part)
        size += len(part)
    yield piece[0] if len(piece) == 1 else b"".join(piece)
