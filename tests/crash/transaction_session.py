"""A program of transactions and idempotent producers on a disk that may crash at any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from streamlog import Broker, OffsetAndMetadata, Producer
from streamlog.structs import ConsumerGroupMetadata
from streamlog.testing.crash_images import CrashImage
from tests.crash.crash_session import CrashSession
from tests.crash.observation import Observation, TopicSeen, abandon, open_broker
from tests.crash.oracle import BAD_OUTCOMES
from tests.support.transaction_model import At, LogModel, Shown, ShownLog, TransactionModel
from tests.support.transaction_view import GROUP, read_topic, show
from tests.support.transaction_world import ACTORS, EXPIRY_MS, READ, TOPIC, World


class CrashedTransactions(TransactionModel):
    """The model of a world whose broker is looked at from outside."""

    def violations(self, seen: Observation, *, power_failed: bool) -> Iterator[str]:
        """Yield, in words, everything in *seen* that must not be."""
        if seen.error:
            yield f"I15: does not open, or cannot be read: {seen.error}"
            return
        if self.is_closed and not (seen.clean and seen.scanned_bytes == 0):
            yield f"I18: closed, and still not clean or {seen.scanned_bytes} bytes scanned"
        topic = seen.topics.get(TOPIC)
        if topic is None:
            yield f"I1: the topic is gone: {list(seen.topics)}"
            return
        for number, log in enumerate(topic.logs):
            if log.outcome in BAD_OUTCOMES:
                yield f"partition {number}: I14: a crash taken for damage: {log.outcome}: {log.message}"
        shown = topic.shown or _without_transactions(topic)
        yield from self.differences(shown, crashed=True, power_failed=power_failed)

    def violations_living_on(self, broker: Broker) -> Iterator[str]:
        """Run a transaction under each transactional id over all partitions: nothing may be stuck, and all of it is seen."""
        count = len(self.logs)
        before = read_topic(broker, TOPIC, "read_committed")
        after = [[value for _, value in values] for values in before]
        for name in sorted({name[0] for name in ACTORS}):
            value = f"{name} lives on".encode()
            with Producer(broker, transactional_id=name) as producer:
                producer.init_transactions()
                with producer.transaction():
                    for number in range(count):
                        producer.send(TOPIC, value, key=value, partition=number)
                        after[number].append(value)
                    offsets = {READ: OffsetAndMetadata(1 << 40)}
                    producer.send_offsets_to_transaction(offsets, ConsumerGroupMetadata(GROUP))
        shown = show(broker, TOPIC)
        found = [[value for _, value in log.committed] for log in shown.logs]
        if found != after:
            yield f"I9: expected {after}, found {found}"
        if shown.group_offset != 1 << 40:
            yield f"I9: group offset: expected {1 << 40}, found {shown.group_offset}"


def _without_transactions(topic: TopicSeen) -> Shown:
    logs = []
    for log in topic.logs:
        records: list[At] = [(offset, value) for offset, _, value, *_ in log.records]
        logs.append(ShownLog(records, records, log.end, log.end))
    return Shown(logs, topic.committed[GROUP])


class TransactionSession(CrashSession):
    """For the explorer it is a `session.Session` whose model is another one."""

    announcing: frozenset[str] = frozenset()
    """The actors that are in other processes, and keep their epoch."""

    def __init__(
        self,
        name: str,
        configs: dict[str, Any],
        *,
        partitions: int = 2,
        capacity_bytes: int | None = None,
    ) -> None:
        super().__init__(name, capacity_bytes)
        self.world = self._new_world(partitions, configs)
        self.model = self.world.model
        self.broker = self._open()

    def _new_world(self, partitions: int, configs: dict[str, Any]) -> World:
        model = CrashedTransactions([LogModel() for _ in range(partitions)])
        return World(model, configs, self.clock, announcing=self.announcing)

    def claims(self) -> None:
        """What the logs say of themselves adds nothing to what was acknowledged."""

    # ---- beginning and ending

    def create(self) -> None:
        self.world.create(self.broker)

    def reopen(self) -> None:
        self.world.close()
        if self._on_step is not None:
            self._on_step("closed")
        self.model.is_closed = False
        self.broker = self._open()
        self.world.reopened(self.broker)

    def _open(self) -> Broker:
        # Time passes here for transactions to be aborted, and not for offsets to expire.
        return open_broker(self.disk, self.clock, offsets_retention_minutes=10_080)

    def _crash(self, image: CrashImage) -> None:
        callback = self._on_step
        self.disk.on_step = None
        self.disk.switch_off()
        abandon(self.broker)
        self.disk = image.filesystem()
        self.on_step = callback
        # Until it is open again no more than the cut spared is owed.
        self.power_failed = image.power_failed
        self.broker = self._open()
        self.world.crashed(self.broker, power_failed=image.power_failed)
        self.power_failed = False

    # ---- transactions

    def join(self) -> None:
        self.world.join(self.chance.choice(ACTORS))

    def begin(self) -> None:
        name = self._actor(self.world.can_begin)
        if name is None:
            name = self.chance.choice(ACTORS)
            self.world.join(name)
        if self.world.can_begin(name):
            self.world.begin(name)

    def send(self) -> None:
        """Send a record or a few in a transaction, which begins now if there is none."""
        self.world.send(self._member(), self._partition(), self.chance.choice((1, 1, 3)))

    def send_offset(self) -> None:
        self.world.send_offset(self._member())

    def commit(self) -> None:
        name = self._actor(self.world.in_transaction)
        if name is not None:
            self.world.commit(name)

    def abort(self) -> None:
        name = self._actor(self.world.in_transaction)
        if name is not None:
            self.world.abort(name)

    def leave(self) -> None:
        name = self._actor(self.world.in_transaction)
        if name is not None:
            self.world.leave(name)

    def advance(self) -> None:
        """Let time pass: some of it is more than a transaction may take."""
        self.world.advance(self.chance.choice((500, 1_000, EXPIRY_MS)))

    # ---- without transactions

    def send_plain(self) -> None:
        self.world.send_plain(self._partition(), self.chance.choice((1, 3)))

    def commit_plain(self) -> None:
        self.world.commit_plain()

    def write(self) -> None:
        self.world.write(self._partition(), self.chance.choice((1, 3)))

    def rewrite(self) -> None:
        self.world.rewrite(self._partition(), self.chance.randrange(5))

    def write_with_gap(self) -> None:
        self.world.write_with_gap(self._partition())

    def sync(self) -> None:
        self.world.sync()

    def roll(self) -> None:
        self.world.roll(self._partition())

    # ---- chance

    def _partition(self) -> int:
        return self.chance.randrange(self.world.partitions)

    def _actor(self, fits: Callable[[str], bool]) -> str | None:
        names = [name for name in ACTORS if fits(name)]
        return self.chance.choice(names) if names else None

    def _member(self) -> str:
        """Return one who is in a transaction, and sees to it that there is one."""
        name = self._actor(self.world.in_transaction)
        if name is None:
            self.begin()
            name = self._actor(self.world.in_transaction)
        assert name is not None
        return name


class AnnouncedSession(TransactionSession):
    """The same, where one of the two producers of each transactional id is in another process."""

    announcing = frozenset({"x2", "y1"})
