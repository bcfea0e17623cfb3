from __future__ import annotations

import io

import click
import pytest

from streamlog.cli.client_options import client_config


def test_plain_options_win_over_properties_and_these_over_the_file() -> None:
    config = client_config(
        ["linger.ms=2", "acks=1"],
        io.StringIO("linger.ms=1\nbatch.size=5\nclient.id=me\n"),
        acks="all",
        batch_size=None,
    )
    assert config == {"linger_ms": "2", "batch_size": "5", "client_id": "me", "acks": "all"}


def test_names_may_have_dots_or_underscores_and_count_as_one() -> None:
    assert client_config(["linger_ms=2", "linger.ms=3"], None) == {"linger_ms": "3"}


def test_a_property_without_value_is_wrong_usage() -> None:
    with pytest.raises(click.UsageError, match="--command-property: expected key=value"):
        client_config(["linger.ms"], None)
