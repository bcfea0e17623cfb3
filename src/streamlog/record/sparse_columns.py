"""The body of a batch that compaction took records out of: which offsets are left, then columns as ever.

====== ==== ====== ================ =====================================================================
offset size type   field            meaning
====== ==== ====== ================ =====================================================================
0      4    u32    offsets_size     bytes of the offsets column
4      ..   msgpack offsets         array of int: offset - base_offset, rising, one element a record
..     ..          columns          the rest: a body as in ``columns.py``
====== ==== ====== ================ =====================================================================

Compressed as a whole, like any body. A batch without records has an empty body instead, and body encoding 0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import islice
from operator import lt

from streamlog.errors import RecordDecodeError
from streamlog.record.columns import ColumnReader, Headers, _pack, encode_columns, unpack_column

_OFFSETS_SIZE = struct.Struct("<I")


def encode_sparse_columns(
    offset_deltas: Sequence[int],
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None,
    timestamp_deltas: Sequence[int] | None,
    headers: Sequence[Headers] | None,
) -> bytes:
    """Return the body of a batch with records at ``base_offset + delta`` for each of *offset_deltas*, and nowhere else.

    The deltas rise from at least 0 to at most ``last_offset_delta``; there is at least one. The columns are those of
    `encode_columns`, as long as the deltas, and nothing is checked here either.
    """
    packed = _pack(offset_deltas)
    columns = encode_columns(values, keys, timestamp_deltas, headers)
    return b"".join((_OFFSETS_SIZE.pack(len(packed)), packed, columns))


class SparseColumnReader(ColumnReader):
    """Reads one body: the offsets at once, the columns when asked for. Never trusts a size, a count or an offset.

    *body* is the uncompressed body; the rest is what the header says. Every failure is a :class:`RecordDecodeError`. Threads: any.
    """

    __slots__ = ("offsets",)

    def __init__(
        self, body: memoryview, record_count: int, base_offset: int, last_offset_delta: int
    ) -> None:
        if len(body) < _OFFSETS_SIZE.size:
            raise RecordDecodeError(
                f"batch body: expected at least {_OFFSETS_SIZE.size} bytes, found {len(body)}"
            )
        columns_at = _OFFSETS_SIZE.size + _OFFSETS_SIZE.unpack_from(body)[0]
        if columns_at > len(body):
            raise RecordDecodeError(
                f"batch body: offsets of {columns_at} bytes in a body of {len(body)}"
            )
        # First: it refuses a count that the body cannot hold, before a list is made of so many.
        super().__init__(body[columns_at:], record_count)
        deltas = unpack_column(body[_OFFSETS_SIZE.size : columns_at], record_count, "offsets")
        if (
            set(map(type, deltas)) != {int}
            or deltas[0] < 0
            or deltas[-1] > last_offset_delta
            or not all(map(lt, deltas, islice(deltas, 1, None)))
        ):
            raise RecordDecodeError(
                f"batch body: offsets column: expected rising numbers from 0 to {last_offset_delta}, found {deltas[:10]!r:.100}"
            )
        #: The offset of each record, rising. The caller does not change the list.
        self.offsets: list[int] = [base_offset + delta for delta in deltas]
