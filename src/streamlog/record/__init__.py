"""Records and batches: bytes to batches and back. Start with ``layout.py``.

Nothing here knows files, partitions or clocks.
"""

from streamlog.record.batch_builder import BatchBuilder, build_batch, build_single_value_batch
from streamlog.record.batch_view import BatchView, split_batches
from streamlog.record.codec import Codec, require_codec
from streamlog.record.columns import Headers
from streamlog.record.compression import Compressor, compressor_for
from streamlog.record.control import ControlType, build_marker, read_marker
from streamlog.record.pending_batch import PendingBatch
from streamlog.record.producer_stamp import ProducerStamp

__all__ = [
    "BatchBuilder",
    "BatchView",
    "Codec",
    "Compressor",
    "ControlType",
    "Headers",
    "PendingBatch",
    "ProducerStamp",
    "build_batch",
    "build_marker",
    "build_single_value_batch",
    "compressor_for",
    "read_marker",
    "require_codec",
    "split_batches",
]
