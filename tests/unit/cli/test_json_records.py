from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.cli.json_records import from_json_line, to_json_line
from streamlog.cli.line_records import ReadRecord
from streamlog.structs import ConsumerRecord

blobs = st.none() | st.binary(max_size=8) | st.text(max_size=8).map(str.encode)


@given(
    key=blobs,
    value=blobs,
    headers=st.lists(st.tuples(st.text(max_size=4), blobs), max_size=3).map(tuple),
    partition=st.integers(0, 9),
    timestamp_ms=st.integers(0, 2**40),
    always_base64=st.booleans(),
)
def test_every_record_survives_the_way_there_and_back(
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes | None], ...],
    partition: int,
    timestamp_ms: int,
    always_base64: bool,
) -> None:
    record = ConsumerRecord(
        "t", partition, 5, timestamp_ms, key=key, value=value, headers=headers, leader_epoch=1
    )
    line = to_json_line(record, always_base64=always_base64)
    assert "\n" not in line
    assert from_json_line(line.encode()) == ReadRecord(value, key, headers, partition, timestamp_ms)


def test_text_stands_as_text_and_other_bytes_as_base64() -> None:
    record = ConsumerRecord(
        "t", 2, 7, 1000, key="é".encode(), value=b"\xff", headers=(("h", None),)
    )
    assert json.loads(to_json_line(record)) == {
        "topic": "t",
        "partition": 2,
        "offset": 7,
        "timestamp": 1000,
        "timestamp_type": "CREATE_TIME",
        "leader_epoch": None,
        "key": "é",
        "value_base64": "/w==",
        "headers": [{"name": "h", "value": None}],
    }
    assert json.loads(to_json_line(record, always_base64=True))["key_base64"] == "w6k="


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("{}", ReadRecord(None)),
        ('{"value": null, "key": "k"}', ReadRecord(None, b"k")),
        ('{"value": {"a": [1, "é"]}}', ReadRecord('{"a":[1,"é"]}'.encode())),
        ('{"value": 1.5, "key": false}', ReadRecord(b"1.5", b"false")),
        ('{"headers": {"a": "1", "b": null}}', ReadRecord(None, None, (("a", b"1"), ("b", None)))),
        (
            '{"headers": [["a", "1"], ["a", "2"]]}',
            ReadRecord(None, None, (("a", b"1"), ("a", b"2"))),
        ),
        ('{"partition": 3, "timestamp": 0}', ReadRecord(None, None, (), 3, 0)),
    ],
)
def test_a_line_may_be_shorter_and_freer_than_what_is_printed(
    line: str, record: ReadRecord
) -> None:
    assert from_json_line(line.encode()) == record


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\udcff", "not JSON"),
        ("[]", r"expected an object, found \[\]"),
        ('{"val": 1}', "unknown field 'val'; there are headers, key, key_base64"),
        ('{"value": "a", "value_base64": "YQ=="}', "value and value_base64 exclude each other"),
        ('{"value_base64": "?"}', 'value_base64: expected base64, found "?"'),
        ('{"value_base64": 1}', "value_base64: expected base64, found 1"),
        ('{"value": "\\ud800"}', "value: not text"),
        ('{"headers": "a"}', "headers: expected an object or a list"),
        ('{"headers": [["a"]]}', "headers: expected"),
        ('{"headers": [[1, "a"]]}', "headers: expected"),
        ('{"headers": [{"name": "a", "valu": "b"}]}', "headers: expected"),
        ('{"partition": -1}', "partition: expected a whole number from 0, found -1"),
        ('{"timestamp": true}', "timestamp: expected a whole number from 0, found true"),
        ('{"timestamp": "now"}', "timestamp: expected a whole number from 0"),
    ],
)
def test_a_wrong_line_says_what_is_wrong_with_it(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_json_line(line.encode("utf-8", "surrogateescape"))


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match=r"found \"x+\.\.\.$"):
        from_json_line(json.dumps("x" * 1000).encode())
