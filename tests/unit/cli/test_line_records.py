"""CLI-1: lines are read as Kafka's console producer reads them."""

from __future__ import annotations

import click
import pytest

from streamlog.cli.line_records import LineFormat, ReadRecord


def parse(line: bytes, **properties: str) -> ReadRecord:
    found = {name.replace("_", "."): value for name, value in properties.items()}
    return LineFormat.of("--property", found).parse(line)


def test_a_line_is_a_value_with_whatever_bytes_it_has() -> None:
    for line in (b"hello", b"", b"a\tb:c", b"\xff\x00", b"key\r"):
        assert parse(line) == ReadRecord(line)


def test_key_and_value_are_cut_at_the_first_separator() -> None:
    assert parse(b"k\tv\tw", parse_key="true") == ReadRecord(b"v\tw", b"k")
    assert parse(b"k::v:w", parse_key="true", key_separator="::") == ReadRecord(b"v:w", b"k")
    assert parse(b"\tv", parse_key="true") == ReadRecord(b"v", b"")
    assert parse("schlüsseléwert".encode(), parse_key="true", key_separator="é") == ReadRecord(
        b"wert", "schlüssel".encode()
    )


def test_a_separator_alone_does_not_mean_a_key_as_in_kafka() -> None:
    assert parse(b"k:v", key_separator=":") == ReadRecord(b"k:v")


def test_headers_come_first_with_separators_of_their_own() -> None:
    assert parse(b"a:1,b:2\tk\tv", parse_headers="true", parse_key="true") == ReadRecord(
        b"v", b"k", (("a", b"1"), ("b", b"2"))
    )
    record = parse(
        b"a=1;a=|v",
        parse_headers="true",
        headers_delimiter="|",
        headers_separator=";",
        headers_key_separator="=",
    )
    assert record == ReadRecord(b"v", None, (("a", b"1"), ("a", b"")))


def test_the_null_marker_makes_nulls_of_key_value_and_values_of_headers() -> None:
    wanted = {"parse_key": "true", "parse_headers": "true", "null_marker": "NULL"}
    assert parse(b"a:NULL\tNULL\tNULL", **wanted) == ReadRecord(None, None, (("a", None),))
    assert parse(b"NULL\tk\tv", **wanted) == ReadRecord(b"v", b"k")
    assert parse(b"\tk\tv", null_marker="", parse_key="true") == ReadRecord(b"k\tv", None)


@pytest.mark.parametrize(
    ("line", "properties", "reason"),
    [
        (b"novalue", {"parse_key": "true"}, r"no key separator '\\t' in 'novalue'"),
        (b"v", {"parse_headers": "true"}, r"no headers delimiter '\\t' in 'v'"),
        (b"a\tv", {"parse_headers": "true"}, "no header key separator ':' in 'a'"),
        (
            b"N:1\tv",
            {"parse_headers": "true", "null_marker": "N"},
            "the name of a header may not be the null marker 'N'",
        ),
        (b"\xff:1\tv", {"parse_headers": "true"}, "the name of a header is not UTF-8"),
    ],
)
def test_a_line_that_lacks_something_is_refused_with_what_it_lacks(
    line: bytes, properties: dict[str, str], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(line, **properties)


def test_errors_may_be_ignored_then_the_rest_is_the_value() -> None:
    wanted = {"ignore_error": "true", "parse_key": "true", "parse_headers": "true"}
    assert parse(b"v", **wanted) == ReadRecord(b"v")
    assert parse(b"a\tv", **wanted) == ReadRecord(b"v", None, (("a", None),))


def test_a_long_line_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match=r"in 'x+\.\.\.$"):
        parse(b"x" * 1000, parse_key="true")


def test_separators_may_be_escaped_and_unknown_properties_are_refused() -> None:
    assert parse(b"k\0v", parse_key="true", key_separator=r"\0") == ReadRecord(b"v", b"k")
    with pytest.raises(click.UsageError, match="did you mean parse.key?"):
        parse(b"", parse_kay="true")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"key_separator": b""}, "key.separator may not be empty"),
        ({"null_marker": b"\t"}, "null.marker and key.separator may not be equal"),
        ({"null_marker": b","}, "null.marker and headers.separator may not be equal"),
        ({"headers_delimiter": b","}, "headers.delimiter and headers.separator may not be equal"),
        (
            {"headers_separator": b":"},
            "headers.separator and headers.key.separator may not be equal",
        ),
    ],
)
def test_separators_that_exclude_each_other_are_refused(
    settings: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        LineFormat(**settings)  # type: ignore[arg-type]
