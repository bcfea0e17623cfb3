"""The crash-state explorer: runs a program, crashes it at every step in every way, and asks the oracle what is left.

``python -m tests.crash.explore STATES`` runs it at length. A state is one disk, left by one crash, on which the real broker was opened
and read whole; equal disks are opened once. Crashes also happen inside the recovery from a crash (depth 2), and, for some, inside
the recovery from that one (depth 3).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import attrs

from streamlog.broker.partition import Partition
from streamlog.record import BatchView, build_batch
from streamlog.runtime import VirtualClock
from streamlog.testing import CrashFileSystem
from streamlog.testing.crash_images import CrashImage, kill_image, power_images
from tests.crash.observation import Observation, abandon, observe, open_broker
from tests.crash.programs import AnyModel, AnySession, Program

_CACHED_IMAGES = 200_000


class CrashStateError(AssertionError):
    """An invariant did not hold; the message says how to see it again."""


@attrs.frozen
class Effort:
    """How much of what can be explored is."""

    #: Images of a power cut looked at after each step; None: all of them.
    images_per_step: int | None = 6
    #: Of so many states one is crashed in its recovery as well; of so many of those one deeper. Recoveries that have something to cut
    #: are worth ten times as much.
    one_recovery_in: int = 50
    one_deeper_in: int = 80
    #: So many in one program at the most.
    recoveries: int = 20
    deeper_recoveries: int = 20
    #: Of so many states one is lived on in.
    one_second_life_in: int = 25


#: For every run of the tests.
QUICK = Effort(
    images_per_step=3,
    one_recovery_in=200,
    one_second_life_in=100,
    recoveries=2,
    deeper_recoveries=1,
)
#: The same where a program makes hundreds of steps.
LIGHT = attrs.evolve(QUICK, images_per_step=2, one_recovery_in=1_000, recoveries=1)
#: Crashes of the program alone.
SHALLOW = Effort(recoveries=0, one_second_life_in=1_000)
THOROUGH = Effort(
    images_per_step=None,
    one_recovery_in=10,
    one_second_life_in=10,
    recoveries=200,
    deeper_recoveries=200,
)


@attrs.define
class Counts:
    """What was done."""

    programs: int = 0
    steps: int = 0
    #: Disks opened, by depth: 1 = a crash of the program, 2 = of its recovery, ...
    states: Counter[str] = attrs.Factory(Counter)
    #: Comparisons with the oracle: an equal disk need not be opened again, but more may be owed by then.
    checks: int = 0

    @property
    def total(self) -> int:
        return sum(self.states.values())


class Explorer:
    """Explores programs and counts."""

    def __init__(self, seed: int, effort: Effort) -> None:
        self.seed = seed
        self.effort = effort
        self.counts = Counts()
        self._observed: dict[int, Observation] = {}

    def explore(self, program: Program, *, only_step: int | None = None) -> None:
        """Run *program* and crash it at every step, or at *only_step*. Raises CrashStateError."""
        run = _Run(self, program, only_step)
        session = program.start()
        try:
            for operation in program.operations[: program.quiet]:
                session.run(operation)
            session.on_step = lambda what: run.crash(session, what)
            for operation in program.operations[program.quiet :]:
                run.operation = operation
                try:
                    session.run(operation)
                except Exception as error:
                    if run.failure:
                        break
                    raise run.error(f"the program itself: {error!r}") from error
                if run.failure:
                    break
                run.crash(session, f"{operation} returned")
        finally:
            session.on_step = None
            if not session.broker.closed:
                abandon(session.broker)
        if run.failure:
            raise run.failure
        self.counts.programs += 1

    def observe(self, image: CrashImage, depth: str) -> Observation:
        """Open a broker on *image*, unless one was opened on an equal one."""
        key = image.key()
        seen = self._observed.get(key)
        if seen is None:
            seen = observe(image.filesystem(recording=False))
            self.counts.states[depth] += 1
            if len(self._observed) > _CACHED_IMAGES:
                self._observed.clear()
            self._observed[key] = seen
        self.counts.checks += 1
        return seen


class _Run:
    """One run of one program."""

    def __init__(self, explorer: Explorer, program: Program, only_step: int | None) -> None:
        self._explorer = explorer
        self._effort = explorer.effort
        self._program = program
        self._only_step = only_step
        self._step = 0
        self._checked: set[object] = set()
        # Of each depth, how many recoveries were crashed.
        self._recoveries: Counter[int] = Counter()
        self.operation = "open"
        self.failure: CrashStateError | None = None

    def crash(self, session: AnySession, what: str) -> None:
        """Look at everything that a crash here can leave. A failure is kept: the broker must not catch it."""
        self._step += 1
        if self.failure or (self._only_step is not None and self._step != self._only_step):
            return
        self._explorer.counts.steps += 1
        session.claims()
        chance = random.Random(f"{self._explorer.seed}/{self._program.name}/{self._step}")
        owed = session.model.fingerprint()
        try:
            for image in self._images(session, chance):
                checked = (image.key(), owed)
                if checked not in self._checked:
                    self._checked.add(checked)
                    self._check(image, session, what, chance)
        except CrashStateError as failure:
            self.failure = failure

    def _images(self, session: AnySession, chance: random.Random) -> Iterable[CrashImage]:
        images = list(power_images(session.disk, chance))
        wanted = self._effort.images_per_step
        if wanted is not None and len(images) > wanted:
            images = [*images[:2], *chance.sample(images[2:], wanted - 2)]
        return [kill_image(session.disk), *images]

    def _check(
        self, image: CrashImage, session: AnySession, what: str, chance: random.Random
    ) -> None:
        model, power_failed = session.model, image.power_failed or session.power_failed
        states = self._explorer.counts.total
        seen = self._explorer.observe(image, "1")
        for violation in model.violations(seen, power_failed=power_failed):
            raise self.error(f"{what}: {_describe(image)}: {violation}")
        if self._explorer.counts.total == states:
            return  # an equal one was here before
        if chance.randrange(_worth(seen, self._effort.one_recovery_in)) == 0:
            self._crash_recovery(
                image,
                seen,
                model,
                f"{what}: {_describe(image)}",
                2,
                chance,
                power_failed=power_failed,
            )
        if chance.randrange(self._effort.one_second_life_in) == 0:
            self._live_on(image, seen, model, f"{what}: {_describe(image)}")

    def _crash_recovery(
        self,
        image: CrashImage,
        wanted: Observation,
        model: AnyModel,
        where: str,
        depth: int,
        chance: random.Random,
        *,
        power_failed: bool,
    ) -> None:
        """Crash the recovery of *image* at every step of its own."""
        self._recoveries[depth] += 1
        limit = self._effort.recoveries if depth == 2 else self._effort.deeper_recoveries
        if self._recoveries[depth] > limit:
            return
        disk = image.filesystem()
        failure: CrashStateError | None = None

        def crash(what: str) -> None:
            nonlocal failure
            if failure is not None:
                return
            images = list(power_images(disk, chance, subsets=2))
            if len(images) > 4:
                images = [*images[:2], *chance.sample(images[2:], 2)]
            try:
                for inner in [kill_image(disk), *images]:
                    check_inner(inner, what)
            except CrashStateError as error:
                failure = error

        def check_inner(inner: CrashImage, what: str) -> None:
            seen = self._explorer.observe(inner, str(depth))
            here = f"{where}; in recovery: {what}: {_describe(inner)}"
            either = power_failed or inner.power_failed
            opened = attrs.evolve(model, is_closed=False)  # by the recovery that was interrupted
            for violation in opened.violations(seen, power_failed=either):
                raise self.error(f"{here}: {violation}")
            # Only the power can take what the first crash spared, and only if that spared what was not synced.
            if (
                inner.power_failed <= power_failed
                and seen.content() != wanted.content()
                and not (seen.no_room or wanted.no_room)
            ):
                raise self.error(
                    f"{here}: I17: recovered {seen.content()}, without the interruption {wanted.content()}"
                )
            one_in = _worth(wanted, self._effort.one_deeper_in)
            if what.startswith(("resize", "unlink", "rename")) and not inner.power_failed:
                one_in = max(one_in // 10, 1)  # killed with the cut made and not yet synced
            if depth < 3 and chance.randrange(one_in) == 0:
                self._crash_recovery(
                    inner, seen, model, here, depth + 1, chance, power_failed=either
                )

        disk.on_step = crash
        observe(disk)
        disk.on_step = None
        if failure is not None:
            raise failure

    def _live_on(self, image: CrashImage, first: Observation, model: AnyModel, where: str) -> None:
        """Open again and again, send again, append, lose the power, close: nothing may change but what is appended, and all goes on."""
        disk = image.filesystem()
        if disk.journal.capacity_bytes is not None:
            return  # nothing may fit any more
        again = [observe(disk), observe(disk)]
        for seen in again:
            if seen.content() != first.content():
                raise self.error(
                    f"{where}: I17: opened again: {seen.content()}, first {first.content()}"
                )
        appended = self._append_everywhere(disk, where)
        after = next(iter(power_images(disk, random.Random(1)))).filesystem()
        self._expect(observe(after), first, appended, f"{where}: appended, synced, power cut")
        broker = open_broker(after, VirtualClock(start_ms=1_900_000_000_000))
        broker.close()
        closed = observe(after)
        self._expect(closed, first, appended, f"{where}: closed")
        if not closed.clean or closed.scanned_bytes:
            raise self.error(
                f"{where}: I18: closed, and still {closed.scanned_bytes} bytes scanned"
            )
        broker = open_broker(after)
        try:
            for violation in model.violations_living_on(broker):
                raise self.error(f"{where}: lived on: {violation}")
        finally:
            abandon(broker)

    def _append_everywhere(self, disk: CrashFileSystem, where: str) -> dict[tuple[str, int], int]:
        broker = open_broker(disk)
        try:
            appended = {}
            for name in broker.topics():
                for partition in broker.topic(name).partitions:
                    _send_again(partition)
                    after = build_batch([b"after"], 1, [b"after"])
                    appended[name, partition.number] = partition.append(after)
            broker.sync()
        except Exception as error:
            raise self.error(f"{where}: I4, I15: cannot be appended to: {error!r}") from error
        finally:
            abandon(broker)
        return appended

    def _expect(
        self,
        seen: Observation,
        first: Observation,
        appended: dict[tuple[str, int], int],
        where: str,
    ) -> None:
        if seen.error:
            raise self.error(f"{where}: I15: {seen.error}")
        for (name, number), offset in appended.items():
            before, after = first.topics[name].logs[number], seen.topics[name].logs[number]
            if offset != before.end or after.end != offset + 1 or after.start != before.start:
                raise self.error(f"{where}: {name}-{number}: I6: {before} became {after}")
            if after.records[:-1] != before.records or after.records[-1][2] != b"after":
                raise self.error(f"{where}: {name}-{number}: I2: {before} became {after}")

    def error(self, message: str) -> CrashStateError:
        """Return the error for *message*, with the command that shows it again."""
        name, step, seed = self._program.name, self._step, self._explorer.seed
        return CrashStateError(
            f"{name}, step {step} (in {self.operation}): {message}\n"
            f"again: python -m tests.crash.explore --program {name} --step {step} --seed {seed}"
        )


def _send_again(partition: Partition) -> None:
    """Send the last batch of each producer once more, as one does that never had its answer: it is known (I4, IDM-7)."""
    offset, end = partition.log_start_offset, partition.log_end_offset
    last: dict[int, BatchView] = {}
    while batches := partition.read_batches(offset, 1 << 30, end):  # a segment
        for batch in batches:
            if batch.is_control:
                last.pop(batch.producer_id, None)  # with its transaction its epoch is over (TXN-11)
            elif batch.base_sequence >= 0:
                last[batch.producer_id] = batch
        offset = batches[-1].next_offset
    for batch in last.values():
        count = batch.next_offset - batch.base_offset  # of which compaction may have left fewer
        again = build_batch([b"again"] * count, batch.max_timestamp_ms, [b"again"] * count)
        again.producer_id, again.producer_epoch = batch.producer_id, batch.producer_epoch
        again.base_sequence = batch.base_sequence
        offset = partition.append(again)
        assert offset == batch.base_offset, f"I4: {batch} again: stored at {offset}"
    assert partition.log_end_offset == end


def _worth(seen: Observation, one_in: int) -> int:
    """Return of how many recoveries like the one *seen* one is crashed."""
    cuts = any(log.message for topic in seen.topics.values() for log in topic.logs)
    return max(one_in // 10, 1) if cuts else one_in


def _describe(image: CrashImage) -> str:
    return f"{'power cut' if image.power_failed else 'killed'}, left: {image.description}"
