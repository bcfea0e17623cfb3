"""The codecs of batch bodies, and the library behind them, which is loaded when first needed."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from streamlog.errors import InvalidConfigurationError

if TYPE_CHECKING:
    from types import ModuleType

INSTALL_HINT = "pip install 'streamlog-broker[compression]'"
"""What to do where the library is missing."""


class Codec(IntEnum):
    """Bits 0 to 2 of a batch's attributes. Source: Kafka ``CompressionType``."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4

    @property
    def label(self) -> str:
        """The name in configurations: ``"none"``, ``"gzip"``, ``"snappy"``, ``"lz4"``, ``"zstd"``."""
        return self.name.lower()


def load_library() -> ModuleType:
    """Return the module ``cramjam``, imported on the first call. Raises ImportError without it.

    It does all four codecs, gives the GIL away while it works, and writes into a buffer of our own
    size and never past it.
    """
    import cramjam

    return cramjam


def require_codec(compression_type: str) -> None:
    """Return if batches can be compressed as the configured *compression_type* says.

    Raises `InvalidConfigurationError` naming what to install. ``producer``, ``none`` and
    ``uncompressed`` need nothing.
    """
    if compression_type.upper() not in Codec.__members__ or compression_type == "none":
        return
    try:
        load_library()
    except ImportError as error:
        raise InvalidConfigurationError(
            f"compression_type: {compression_type!r} needs a library that is not installed: {INSTALL_HINT}"
        ) from error
