from __future__ import annotations

import click
import pytest

from streamlog.cli.properties import (
    is_true,
    parse_properties,
    read_properties_file,
    require_known,
    unescape,
)


def test_pairs_keep_what_follows_the_first_equals_sign_and_the_last_one_counts() -> None:
    pairs = ["a=1", "key.separator==", "null.marker=", "a=2 "]
    assert parse_properties("--property", pairs) == {
        "a": "2 ",
        "key.separator": "=",
        "null.marker": "",
    }


@pytest.mark.parametrize("pair", ["parse.key", "=true", " =true"])
def test_a_pair_without_key_or_value_is_wrong_usage(pair: str) -> None:
    with pytest.raises(click.UsageError, match=f"--property: expected key=value, found '{pair}'"):
        parse_properties("--property", [pair])


def test_a_file_of_properties_may_have_comments_spaces_and_empty_lines() -> None:
    lines = ["# a comment\n", "! another\n", "\n", " linger.ms = 5 \n", "acks=all"]
    assert read_properties_file("--command-config", lines) == {"linger.ms": "5", "acks": "all"}


def test_an_unknown_property_names_the_nearest_or_all() -> None:
    known = ("parse.key", "null.marker")
    require_known("--property", known, known)
    with pytest.raises(click.UsageError, match="'parse.keys'; did you mean parse.key?"):
        require_known("--property", ["parse.keys"], known)
    with pytest.raises(click.UsageError, match="there are null.marker, parse.key"):
        require_known("--property", ["x"], known)


def test_only_true_is_true_as_in_kafka() -> None:
    assert [is_true(text) for text in ("true", " TRUE ", "yes", "1", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"\t", "\t"),
        (r"a\nb", "a\nb"),
        (r"\0", "\0"),
        (r"\x1f", "\x1f"),
        (r"\\t", r"\t"),
        (r"\d\|", r"\d\|"),
        ("\\", "\\"),
        ("é\\té", "é\té"),
    ],
)
def test_backslashes_stand_for_characters_that_a_shell_will_not_give(text: str, meant: str) -> None:
    assert unescape(text) == meant
