"""Files changed at random: `dump` and `verify` end as they say they do, and `--repair` changes no log.

``STREAMLOG_DAMAGE_SEED`` runs one of the cases again, or others than those below.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlog import Broker, Consumer, Producer
from streamlog.cli.app import app

SEEDS = [int(s) for s in os.environ.get("STREAMLOG_DAMAGE_SEED", "").split()] or list(range(60))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "data"
    few = {"offsets_topic_num_partitions": 1, "transaction_state_log_num_partitions": 1}
    with Broker(path, config=few) as broker:
        configs = {"segment_bytes": 3000, "index_interval_bytes": 100}
        broker.create_topic("orders", configs=configs)
        with Producer(broker, transactional_id="t") as producer:
            producer.init_transactions()
            for number in range(6):
                producer.begin_transaction()
                for record in range(8):
                    producer.send("orders", b"v%d" % record, key=b"k", headers=[("h", b"1")])
                if number % 2:
                    producer.commit_transaction()
                else:
                    producer.abort_transaction()
        with Producer(broker, linger_ms=5) as producer:
            for record in range(300):
                producer.send("orders", b"w%d" % record)
        with Consumer(broker, "orders", group_id="g", auto_offset_reset="earliest") as consumer:
            consumer.poll(100)
            consumer.commit()
    return path


def damage(path: Path, chance: random.Random) -> None:
    """Flip a bit, cut the end off, take bytes out, or put zeros in."""
    content = bytearray(path.read_bytes())
    at = chance.randrange(len(content))
    some = chance.randrange(1, 300)
    kind = chance.choice(["flip", "cut", "take", "zero"])
    if kind == "flip":
        content[at] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del content[at:]
    elif kind == "take":
        del content[at : at + some]
    else:
        content[at : at + some] = bytes(len(content[at : at + some]))
    path.write_bytes(content)


@pytest.mark.parametrize("seed", SEEDS)
def test_damage_of_any_kind_is_shown_and_repair_changes_no_log(
    made: Path, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    data = Path(shutil.copytree(made, tmp_path / "data"))
    files = sorted(path for path in data.rglob("*") if path.is_file())
    with_content = [path for path in files if path.stat().st_size]
    for path in chance.sample(with_content, chance.choice([1, 1, 1, 3])):
        damage(path, chance)

    def run(*arguments: str) -> Result:
        result = CliRunner(catch_exceptions=False).invoke(app, ["--data", str(data), *arguments])
        assert result.exit_code in (0, 5), result.output
        return result

    def kept() -> dict[Path, bytes]:
        names = [*data.rglob("*.log"), data / "META", data / "FORMAT"]
        return {path: path.read_bytes() for path in names}

    run("dump", "--print-data-log", *map(str, files))
    before, found = kept(), run("verify")
    run("verify", "--repair")
    assert kept() == before
    left = run("verify")
    assert "derived\t" not in left.stdout
    assert ("damage\t" in left.stdout) == ("damage\t" in found.stdout) == bool(left.exit_code)
