"""Ids of groups and of transactional producers."""

from __future__ import annotations

import pytest

from streamlog.config.id_text import MAX_ID_BYTES, id_fault


@pytest.mark.parametrize("text", ["g", "x" * MAX_ID_BYTES, "é" * (MAX_ID_BYTES // 2), "../g", "\0"])
def test_text_within_the_bounds_is_an_id(text: str) -> None:
    assert id_fault(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "found 0"), ("x" * 32_768, "found 32768"), ("é" * 16_384, "found 32768")],
)
def test_text_out_of_bounds_is_told_its_size_in_bytes(text: str, found: str) -> None:
    assert id_fault(text) == f"expected 1 to 32767 bytes as UTF-8, {found}"


def test_lone_surrogate_is_no_text() -> None:
    """A group id of this kind was a UnicodeEncodeError at the first commit."""
    fault = id_fault("\ud800")
    assert fault is not None
    assert fault.startswith(r"expected text, found '\ud800': ")
