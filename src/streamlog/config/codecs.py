"""The codecs and their levels, which producers, topics and brokers all have as keys. Source: KIP-390."""

from __future__ import annotations

from typing import Any, Final

from streamlog.config.definition import option
from streamlog.config.kinds import integer

CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
"""What a producer's ``compression_type`` may be."""
TOPIC_CODECS: Final = ("producer", "uncompressed", *CODECS[1:])
"""What a topic's ``compression_type`` may be."""

GZIP_DEFAULT_LEVEL: Final = -1
"""The library's own default, which is 6."""
LZ4_DEFAULT_LEVEL: Final = 9
"""As in Kafka not the high compressor at that level, but the fast one."""
ZSTD_DEFAULT_LEVEL: Final = 3


def gzip_level() -> Any:
    """Declare the key ``compression_gzip_level``."""
    doc = "Level of gzip, from fast to small; -1 is its default, 6."
    return option(integer(1, 9, also=(-1,)), GZIP_DEFAULT_LEVEL, doc)


def lz4_level() -> Any:
    """Declare the key ``compression_lz4_level``."""
    doc = (
        "Level of lz4. 9 is the fast compressor; every other is the high compressor at that level, of"
        " which there are those from 3 to 12."
    )
    return option(integer(1, 17), LZ4_DEFAULT_LEVEL, doc)


def zstd_level() -> Any:
    """Declare the key ``compression_zstd_level``."""
    doc = "Level of zstd, from fast to small."
    return option(integer(-131_072, 22), ZSTD_DEFAULT_LEVEL, doc)
