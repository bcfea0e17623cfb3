"""The numbers of the codecs, and what is said where their library is missing."""

from __future__ import annotations

import sys

import pytest

from streamlog.errors import InvalidConfigurationError
from streamlog.record import Codec, require_codec
from streamlog.record.codec import load_library


def test_rec_9_the_codecs_have_kafkas_numbers() -> None:
    assert [(codec.label, codec.value) for codec in Codec] == [
        ("none", 0),
        ("gzip", 1),
        ("snappy", 2),
        ("lz4", 3),
        ("zstd", 4),
    ]


@pytest.mark.parametrize("name", ["none", "producer", "uncompressed"])
def test_what_compresses_nothing_needs_no_library(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)
    require_codec(name)


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
def test_without_the_library_a_codec_is_refused_and_the_extra_named(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    require_codec(name)
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(
        InvalidConfigurationError, match=rf"'{name}' .*streamlog-broker\[compression\]"
    ):
        require_codec(name)
    monkeypatch.undo()
    require_codec(name)  # installed meanwhile
    assert load_library().__name__ == "cramjam"
