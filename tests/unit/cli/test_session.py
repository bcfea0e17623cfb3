from __future__ import annotations

from pathlib import Path

import click
import pytest

from streamlog import Broker
from streamlog.cli.failures import NOT_FOUND, Failure
from streamlog.cli.session import Session


def test_no_data_directory_is_wrong_usage() -> None:
    with pytest.raises(click.UsageError, match="Say --data DIR, or set STREAMLOG_DATA"):
        Session().directory()


def test_a_missing_directory_is_not_found_and_not_made(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(Failure, match="no such data directory") as caught:
        with Session(data=str(data)).open_broker():
            pass
    assert caught.value.code == NOT_FOUND
    assert not data.exists()


def test_an_empty_directory_is_no_data_directory_and_stays_empty(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no such data directory"):
        with Session(data=str(tmp_path)).open_broker():
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_new_directory_is_made_when_the_command_says_so(tmp_path: Path) -> None:
    session = Session(data=str(tmp_path / "data"))
    with session.open_broker(create=True, num_partitions=2) as broker:
        assert len(broker.create_topic("orders").partitions) == 2
    assert broker.closed
    with Broker(session.data) as again:
        assert again.topics() == ["orders"]
