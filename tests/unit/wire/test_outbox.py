from __future__ import annotations

from typing import Any

import pytest

from streamlog.wire.outbox import Outbox
from streamlog.wire.request_memory import ResponseMemory
from tests.support.wire_memory import MemoryLoop, MemoryTransport

KIB = 1024


class Pieces(MemoryTransport):
    """Remembers how long each piece was."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data: Any) -> None:
        super().write(data)
        self.sizes.append(len(data))


@pytest.fixture
def memory() -> ResponseMemory:
    return ResponseMemory(1 << 20)


@pytest.fixture
def loop() -> MemoryLoop:
    return MemoryLoop()


@pytest.fixture
def transport() -> Pieces:
    return Pieces()


@pytest.fixture
def outbox(loop: MemoryLoop, memory: ResponseMemory, transport: Pieces) -> Outbox:
    outbox = Outbox(loop, memory)  # type: ignore[arg-type]
    outbox.open(transport)
    return outbox


def test_answer_is_sent_at_once_and_in_one_piece(outbox: Outbox, transport: Pieces) -> None:
    outbox.add([b"head", bytearray(b"records"), b"tail"])
    outbox.add([bytearray(b"next")])
    assert bytes(transport.written) == b"headrecordstailnext"
    assert transport.sizes == [15, 4]


def test_answers_that_follow_each_other_are_sent_together(
    outbox: Outbox, transport: Pieces
) -> None:
    outbox.hold()
    for number in range(5):
        outbox.add([b"%d" % number])
    assert transport.sizes == []
    outbox.send()
    assert bytes(transport.written) == b"01234"
    assert transport.sizes == [5]
    outbox.add([b"5"])
    assert transport.sizes == [5, 1]


def test_many_answers_are_not_held_back_for_the_last_of_them(
    outbox: Outbox, transport: Pieces
) -> None:
    outbox.hold()
    for _ in range(40):
        outbox.add([b"x"])
    assert transport.sizes == [16, 16]
    outbox.send()
    assert transport.sizes == [16, 16, 8]


def test_large_answer_is_not_held_back_and_takes_along_what_was(
    outbox: Outbox, transport: Pieces
) -> None:
    outbox.hold()
    outbox.add([b"small"])
    outbox.add([b"x" * 20 * KIB])
    assert transport.sizes == [5 + 20 * KIB]


@pytest.mark.parametrize(
    ("sizes", "sent"),
    [
        ([128 * KIB, 128 * KIB], [256 * KIB]),
        ([128 * KIB, 128 * KIB + 1], [128 * KIB, 128 * KIB + 1]),
        ([256 * KIB + 1, 1], [256 * KIB + 1, 1]),
    ],
)
def test_piece_is_256_kib_at_most_unless_one_part_is_more(
    outbox: Outbox, transport: Pieces, sizes: list[int], sent: list[int]
) -> None:
    outbox.add([bytes(size) for size in sizes])
    assert transport.sizes == sent


@pytest.mark.parametrize(("size", "sent"), [(16 * KIB, []), (16 * KIB + 1, [16 * KIB + 1])])
def test_answer_is_small_up_to_16_kib(
    outbox: Outbox, transport: Pieces, size: int, sent: list[int]
) -> None:
    outbox.hold()
    outbox.add([bytes(size)])
    assert transport.sizes == sent


def test_client_that_has_nothing_to_read_is_none_that_does_not_read(
    outbox: Outbox, loop: MemoryLoop
) -> None:
    loop.now_s = 100.0
    assert not outbox.is_unread_for(0)


def test_client_that_reads_as_much_as_it_is_sent_reads(
    outbox: Outbox, transport: Pieces, loop: MemoryLoop
) -> None:
    outbox.pause()
    outbox.add([bytes(1000)])
    loop.now_s = 20.0
    assert not outbox.is_unread_for(20)
    assert outbox.is_unread_for(19)
    write = transport.write

    def write_and_be_full(data: Any) -> None:
        write(data)
        outbox.pause()

    transport.write = write_and_be_full  # type: ignore[method-assign]
    outbox.resume()
    assert outbox.unsent_bytes == 1000
    assert not outbox.is_unread_for(19)


def test_answer_of_many_parts_is_sent_in_pieces_of_their_bounds(
    outbox: Outbox, transport: Pieces
) -> None:
    outbox.add([b"x" * 100 * KIB] * 7)
    assert transport.sizes == [200 * KIB, 200 * KIB, 200 * KIB, 100 * KIB]


def test_client_that_does_not_read_gets_no_more_until_it_does(
    outbox: Outbox, transport: Pieces, memory: ResponseMemory, loop: MemoryLoop
) -> None:
    outbox.pause()
    outbox.add([b"x" * 1000])
    assert transport.sizes == []
    assert (outbox.unsent_bytes, memory.used_bytes) == (1000, 1000)
    loop.now_s += 10
    outbox.add([b"y" * 500])
    assert outbox.is_unread_for(9)
    assert not outbox.is_unread_for(11)
    outbox.resume()
    assert bytes(transport.written) == b"x" * 1000 + b"y" * 500
    assert (outbox.unsent_bytes, memory.used_bytes) == (0, 0)
    assert not outbox.is_unread_for(0)


def test_slow_reader_of_a_large_answer_is_no_client_that_does_not_read(
    outbox: Outbox, transport: Pieces, memory: ResponseMemory, loop: MemoryLoop
) -> None:
    """It was cut off when memory was short, however steadily it read."""
    outbox.pause()
    outbox.add([b"x" * 1000])
    for _ in range(4):
        loop.now_s += 20
        outbox.resume()  # it has taken what the system has room for, and the next piece fills that again
        outbox.pause()
        outbox.add([b"x" * 1000])
        assert not outbox.is_unread_for(19)
    loop.now_s += 20
    del transport.written[:1]
    assert not outbox.is_unread_for(19), "some was read since the last look"
    assert memory.used_bytes == outbox.unsent_bytes == len(transport.written) + 1000
    loop.now_s += 20
    assert outbox.is_unread_for(19)


def test_closed_outbox_has_nothing_unread_and_sends_nothing(
    outbox: Outbox, transport: Pieces, memory: ResponseMemory
) -> None:
    outbox.pause()
    outbox.add([b"x" * 1000])
    outbox.close()
    assert memory.used_bytes == 0
    outbox.resume()
    outbox.add([b"y"])
    assert transport.sizes == []
