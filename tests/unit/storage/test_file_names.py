"""LOG-1: the names of the files of a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.storage.file_names import base_offset_of, join, segment_stem


@given(st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=2))
def test_log_1_names_have_20_digits_and_sort_as_offsets_do(offsets: list[int]) -> None:
    names = [segment_stem(offset) + ".log" for offset in offsets]
    assert [base_offset_of(name) for name in names] == offsets
    assert all(len(name) == 24 for name in names)
    assert (names[0] < names[1]) == (offsets[0] < offsets[1])


@pytest.mark.parametrize(
    "name",
    [
        "", ".log", "5.log", "0" * 19 + ".log", "0" * 21 + ".log", "0" * 20, "0" * 20 + ".idx",
        "0" * 20 + ".log.deleted", "-" + "0" * 19 + ".log", "\u0660" * 20 + ".log", "²" * 20 + ".log",
        f"{2**63:020d}.log",
    ],
)  # fmt: skip
def test_other_names_are_not_those_of_log_files(name: str) -> None:
    assert base_offset_of(name) is None


def test_paths_are_joined_by_a_slash() -> None:
    assert join("/a/b", "c") == "/a/b/c"
