"""`streamlog dump`: each kind of file, with its damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streamlog import Broker, Consumer, Producer
from streamlog.cli.app import app

LOG = "topics/orders-0/00000000000000000000.log"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of every kind of file, closed."""
    path = tmp_path_factory.mktemp("made") / "data"
    with Broker(path) as broker:
        configs = {"segment_bytes": 4000, "index_interval_bytes": 100}
        broker.create_topic("orders", configs=configs)
        with Producer(broker, transactional_id="t") as producer:
            producer.init_transactions()
            producer.begin_transaction()
            producer.send("orders", b"first", key=b"k", headers=[("h", b"1"), ("h", None)])
            producer.commit_transaction()
            producer.begin_transaction()
            producer.send("orders", "h\u00f6\n".encode(), timestamp_ms=1)
            producer.abort_transaction()
        with Producer(broker) as producer:
            for number in range(60):
                producer.send("orders", b"v%d" % number)
        with Consumer(broker, "orders", group_id="g", auto_offset_reset="earliest") as consumer:
            consumer.poll(1000)
            consumer.commit()
    return path


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def dump(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--data", str(data), "dump", *arguments])


def rows(data: Path, *arguments: str) -> list[dict[str, Any]]:
    done = dump(data, *arguments, "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def kinds(found: list[dict[str, Any]]) -> set[str]:
    return {row["kind"] for row in found}


def test_batches_have_every_field_of_the_header(data: Path) -> None:
    batches = [row for row in rows(data, LOG) if row["kind"] == "batch"]
    assert [row["baseOffset"] for row in batches[:5]] == [0, 1, 2, 3, 4]
    first = batches[0]
    assert first["position"] == 0
    assert first["isTransactional"] is first["isvalid"] is True
    assert batches[1]["isControl"] is True
    fields = "lastOffset count baseSequence lastSequence producerId producerEpoch crc size magic"
    fields += " partitionLeaderEpoch deleteHorizonMs CreateTime compresscodec bodyEncoding"
    assert set(fields.split()) <= set(first)


def test_records_come_with_a_flag_and_payloads_with_another(data: Path) -> None:
    assert "record" not in kinds(rows(data, LOG))
    deep = [row for row in rows(data, LOG, "--deep-iteration") if row["kind"] == "record"]
    assert deep[0]["keySize"] == 1
    assert deep[0]["headerKeys"] == ["h", "h"]
    assert "payload" not in deep[0]
    assert [deep[1]["endTxnMarker"], deep[3]["endTxnMarker"]] == ["COMMIT", "ABORT"]
    full = [row for row in rows(data, LOG, "--print-data-log") if row["kind"] == "record"]
    assert (full[0]["key"], full[0]["payload"]) == ("k", "first")
    assert full[0]["headers"] == ["h=1", "h"]
    assert full[2]["payload"] == "h\u00f6\n"
    assert full[2]["key"] is None


def test_text_is_one_line_for_each_with_kafkas_names(data: Path) -> None:
    done = dump(data, LOG, "--print-data-log")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"Dumping {LOG}", "Log starting offset: 0"]
    assert lines[2].startswith(
        "baseOffset: 0 lastOffset: 0 count: 1 baseSequence: 0 lastSequence: 0"
    )
    assert lines[3].startswith("| offset: 0 CreateTime: ")
    assert lines[3].endswith(" key: k payload: first headers: h=1,h")
    assert "payload: h\u00f6\\n" in done.stdout


def test_skip_record_metadata_leaves_the_payload(data: Path) -> None:
    done = dump(data, LOG, "--print-data-log", "--skip-record-metadata")
    assert done.stdout.splitlines()[3] == "| offset: 0 key: k payload: first headers: h=1,h"


def test_max_bytes_stops_in_each_log(data: Path) -> None:
    found = [row for row in rows(data, LOG, "--max-bytes", "1") if row["kind"] == "batch"]
    assert [row["baseOffset"] for row in found] == [0]


def test_damage_is_shown_stepped_over_and_tells_by_the_exit_code(data: Path) -> None:
    path = data / LOG
    whole = [row["baseOffset"] for row in rows(data, LOG) if row["kind"] == "batch"]
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    found = rows(data, LOG)
    assert [row["baseOffset"] for row in found if row["kind"] == "batch"] == whole[1:]
    (damage,) = [row for row in found if row["kind"] == "damage"]
    assert (damage["position"], damage["expectedOffset"], damage["nextOffset"]) == (0, 0, 1)
    done = dump(data, LOG)
    assert done.exit_code == 5
    assert "DAMAGE position: 0 " in done.stdout


def test_a_body_that_changed_is_not_valid_and_not_decoded(data: Path) -> None:
    path = data / LOG
    content = bytearray(path.read_bytes())
    content[90] ^= 1
    path.write_bytes(content)
    done = dump(data, LOG, "--print-data-log")
    assert done.exit_code == 5
    lines = done.stdout.splitlines()
    assert lines[2].endswith("isvalid: false")
    assert lines[3].startswith("baseOffset: 1")


@pytest.mark.parametrize(
    "name", ["00000000000000000000.log.deleted", "00000000000000000000.log.80"]
)
def test_a_renamed_log_and_a_piece_of_one_are_read_as_logs(data: Path, name: str) -> None:
    path = data / "topics/orders-0" / name
    path.write_bytes((data / LOG).read_bytes())
    assert "batch" in kinds(rows(data, f"topics/orders-0/{name}"))


@pytest.mark.parametrize(
    ("suffix", "kind", "field"),
    [
        ("idx", "entry", "position"),
        ("tix", "entry", "timestamp"),
        ("txn", "aborted", "lastStableOffset"),
        ("snap", "producer", "producerEpoch"),
    ],
)
def test_what_is_beside_a_log_is_shown_and_its_damage(
    data: Path, suffix: str, kind: str, field: str
) -> None:
    path = sorted((data / "topics/orders-0").glob(f"*.{suffix}"))[0]
    name = str(path.relative_to(data))
    found = rows(data, name)
    assert any(row["kind"] == kind and field in row for row in found)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = dump(data, name)
    assert done.exit_code == 5
    assert "DAMAGE" in done.stdout


def test_a_deleted_index_still_has_the_checksum_of_its_first_name(data: Path) -> None:
    path = data / "topics/orders-0/00000000000000000000.idx"
    path.rename(path.with_suffix(".idx.deleted"))
    found = rows(data, "topics/orders-0/00000000000000000000.idx.deleted")
    assert kinds(found) == {"entry", "index"}


@pytest.mark.parametrize(
    ("topic", "record"),
    [("__consumer_offsets", "OffsetCommit"), ("__transaction_state", "TransactionRecord")],
)
def test_records_of_the_brokers_own_topics_are_decoded(data: Path, topic: str, record: str) -> None:
    paths = [p for p in data.glob(f"topics/{topic}-*/*.log") if p.stat().st_size]
    found = rows(data, *(str(path) for path in paths), "--print-data-log")
    assert record in {row.get("record") for row in found}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FORMAT", "format_version: 1"),
        ("META", "| topic: orders id: "),
        ("STATE", "log_start_offset: 0"),
        ("LOCK", "boot_id: "),
    ],
)
def test_the_files_around_the_logs_are_shown(data: Path, name: str, expected: str) -> None:
    done = dump(data, name)
    assert done.exit_code == 0
    assert expected in done.stdout


@pytest.mark.parametrize("name", ["FORMAT", "META", "STATE"])
def test_a_damaged_file_around_the_logs_says_so(data: Path, name: str) -> None:
    path = data / name
    path.write_bytes(path.read_bytes()[:-1])
    done = dump(data, name)
    assert done.exit_code == 5
    assert "DAMAGE" in done.stdout


def test_a_reason_in_quarantine_is_shown(data: Path) -> None:
    where = data / "quarantine" / "1-orders-0-0"
    where.mkdir()
    pieces = [{"file": "x.log", "from_byte": 8, "to_byte": 16}]
    (where / "reason.json").write_text(json.dumps({"reason": "torn", "pieces": pieces}))
    name = "quarantine/1-orders-0-0/reason.json"
    assert [row["kind"] for row in rows(data, name)] == ["reason", "piece"]
    (where / "reason.json").write_text("{")
    assert dump(data, name).exit_code == 5


def test_verify_index_is_silent_when_it_agrees_and_names_what_does_not(data: Path) -> None:
    index = LOG.replace(".log", ".idx")
    for name in (LOG, index):
        done = dump(data, name, "--verify-index")
        assert (done.exit_code, done.stdout) == (0, "")
    broker = Broker(data)
    segment = broker.partition("orders", 0).log.segments[0]
    segment.ensure_indexes()
    segment.offset_index._relative_offsets[1] += 1
    segment._rewrite_indexes()
    broker.close()
    done = dump(data, index, "--verify-index-only")
    assert done.exit_code == 5
    assert "DAMAGE file: 00000000000000000000.idx reason: entry of byte" in done.stdout
    time_index = LOG.replace(".log", ".tix")
    assert dump(data, time_index, "--index-sanity-check").exit_code == 0


def test_wrong_names_are_refused(data: Path) -> None:
    assert dump(data, "nowhere").exit_code == 3
    assert dump(data).exit_code == 2
    (data / "notes.txt").write_text("x")
    assert dump(data, "notes.txt").exit_code == 1
    assert dump(data, "STATE", "--verify-index").exit_code == 2


def test_files_may_be_given_as_kafkas_tool_takes_them(data: Path) -> None:
    done = dump(data, "--files", "FORMAT,LOCK")
    assert done.exit_code == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("Dumping")] == [
        "Dumping FORMAT",
        "Dumping LOCK",
    ]
