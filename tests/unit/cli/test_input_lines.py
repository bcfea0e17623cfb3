from __future__ import annotations

import io

import pytest

from streamlog.cli.input_lines import lines_of


class Pieces:
    """A pipe that gives one piece at a time."""

    def __init__(self, *pieces: bytes) -> None:
        self.left = list(pieces)

    def read1(self, size: int = -1, /) -> bytes:
        return self.left.pop(0) if self.left else b""


def read(*pieces: bytes, limit_bytes: int = 100) -> list[bytes]:
    return list(lines_of(Pieces(*pieces), limit_bytes, lambda: None))


def test_lines_end_with_lf_or_crlf_and_the_last_one_needs_no_end() -> None:
    assert read(b"a\nb\r\n\n\rc\r\r\nlast") == [b"a", b"b", b"", b"\rc\r", b"last"]
    assert read(b"a\n") == [b"a"]
    assert read() == []


def test_lines_are_whole_however_the_pipe_cuts_them() -> None:
    text = b"one\ntwo\r\nthree\n"
    for size in range(1, len(text)):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert read(*pieces) == [b"one", b"two", b"three"], size


def test_a_line_is_there_before_more_is_waited_for() -> None:
    pipe = Pieces(b"a\nb\n", b"c\n")
    reads = []
    lines = lines_of(pipe, 100, lambda: reads.append(len(pipe.left)))
    assert [next(lines), next(lines)] == [b"a", b"b"]
    assert reads == [2]


def test_a_line_without_end_is_refused_in_bounded_memory() -> None:
    class Endless:
        taken = 0

        def read1(self, size: int = -1, /) -> bytes:
            self.taken += size
            return b"ok\n" if self.taken == size else b"x" * size

    endless = Endless()
    lines = lines_of(endless, 200_000, lambda: None)
    assert next(lines) == b"ok"
    with pytest.raises(ValueError, match="longer than 200000 bytes"):
        next(lines)
    assert endless.taken < 500_000


def test_a_file_is_read_in_chunks() -> None:
    data = b"".join(b"%d\n" % number for number in range(50_000))
    found = list(lines_of(io.BufferedReader(io.BytesIO(data)), 100, lambda: None))
    assert found == [b"%d" % number for number in range(50_000)]
