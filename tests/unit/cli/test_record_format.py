"""CLI-1: records are printed as Kafka's console consumer prints them."""

from __future__ import annotations

import json

import click
import pytest

from streamlog.cli.record_format import (
    ENCODERS,
    LineFormatter,
    escaped,
    json_format,
    template_format,
)
from streamlog.structs import ConsumerRecord, TimestampType

RECORD = ConsumerRecord(
    "t",
    3,
    42,
    1_772_366_400_007,
    key=b"k",
    value=b"v",
    headers=(("a", b"1"), ("b", None)),
    leader_epoch=5,
)
PLAIN = ConsumerRecord("t", 0, 0)


def line(record: ConsumerRecord, **properties: str) -> bytes:
    found = {name.replace("_", "."): value for name, value in properties.items()}
    return LineFormatter.of("--property", found)(record)


def test_only_the_value_is_printed_and_null_reads_null() -> None:
    assert line(RECORD) == b"v\n"
    assert line(PLAIN) == b"null\n"


def test_everything_is_printed_in_kafkas_order() -> None:
    every = {
        f"print_{name}": "true"
        for name in ("timestamp", "partition", "offset", "epoch", "headers", "key")
    }
    assert line(RECORD, **every) == (
        b"CreateTime:1772366400007\tPartition:3\tOffset:42\tEpoch:5\ta:1,b:null\tk\tv\n"
    )
    assert line(PLAIN, **every) == (
        b"NO_TIMESTAMP\tPartition:0\tOffset:0\tEpoch:null\tNO_HEADERS\tnull\tnull\n"
    )
    by_broker = RECORD._replace(timestamp_type=TimestampType.LOG_APPEND_TIME)
    assert line(by_broker, print_timestamp="true") == b"LogAppendTime:1772366400007\tv\n"


def test_separators_and_the_null_literal_are_replaceable_and_unescaped() -> None:
    assert (
        line(
            RECORD._replace(value=None),
            print_key="true",
            print_headers="true",
            key_separator=r"\0",
            headers_separator=";",
            line_separator=r"|\n",
            null_literal="-",
        )
        == b"a:1;b:-\0k\0-|\n"
    )


def test_without_the_value_the_last_column_ends_the_line() -> None:
    assert line(RECORD, print_value="false", print_offset="true") == b"Offset:42\n"
    assert line(RECORD, print_value="false") == b""


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(click.UsageError, match="did you mean print.key?"):
        line(RECORD, print_keys="true")
    with pytest.raises(click.UsageError, match="unknown property 'encode'"):
        line(RECORD, encode="raw")


def test_bytes_are_printed_raw_escaped_or_in_base64() -> None:
    data = b"a\xff\x1b[1m\n\xc3\xa9"
    assert ENCODERS["raw"](data) == data
    assert escaped(data) == b"a\\xff\\x1b[1m\\n\xc3\xa9"
    assert ENCODERS["base64"](b"\xff") == b"/w=="
    assert LineFormatter(encode=escaped)(RECORD._replace(value=data)) == escaped(data) + b"\n"


def test_a_template_has_every_field() -> None:
    fill = template_format(
        "{topic} {partition}:{offset} {timestamp} {timestamp_ms} {timestamp_type} {epoch}"
        r" {key}={value} [{headers}] {key_size} {value_size} {{}}\t"
    )
    assert fill(RECORD) == (
        b"t 3:42 2026-03-01T12:00:00.007Z 1772366400007 CreateTime 5 k=v [a:1,b:null] 1 1 {}\t\n"
    )
    assert template_format("{key} {value_size} {epoch}", null_literal=b"-", end=b"")(PLAIN) == (
        b"- -1 -"
    )


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{ofset}", r"unknown field \{ofset\}; there are \{topic\} \{partition\}"),
        ("{}", r"unknown field \{\}"),
        ("{value!r}", r"unknown field \{value!r\}"),
        ("{offset:>5}", r"unknown field \{offset:>5\}"),
        ("{value.__class__}", r"unknown field \{value.__class__\}"),
        ("{key", "expected '}'"),
    ],
)
def test_a_wrong_template_is_refused_before_anything_is_read(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        template_format(template)


def test_json_is_one_object_a_line() -> None:
    printed = json_format()(RECORD)
    assert printed.endswith(b"}\n")
    assert json.loads(printed)["headers"] == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": None},
    ]
    assert json.loads(json_format(always_base64=True)(RECORD))["value_base64"] == "dg=="
