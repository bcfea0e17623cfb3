"""A broker on a disk whose power can be cut: by hand, or at every moment of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import attrs

from streamlog.broker.broker import Broker
from streamlog.errors import ClosedError
from streamlog.runtime import RandomSource, VirtualClock
from streamlog.testing.crash_filesystem import CrashFileSystem
from streamlog.testing.crash_images import CrashImage, kill_image, power_images

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Unpack

    from streamlog.config.options import BrokerOptions

_PATH = "/data"


class CrashFailureError(AssertionError):
    """A check did not hold after a crash. Its cause is what the check raised."""

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(message)
        self.step = step
        """Where the crash was: ``explore(..., only_step=...)`` goes there at once."""


@attrs.frozen
class CrashReport:
    """What `CrashLab.explore` went through."""

    #: Moments at which the process could die or the power go.
    steps: int
    #: Disks left by that, on each of which a broker was opened and checked.
    states: int


class CrashLab:
    """Runs a program against a broker, kills it or cuts its power, and opens what is left.

    By hand: `open_broker`, then `kill` or `cut_power`, then `open_broker` again.

    >>> from streamlog import Consumer, Producer
    >>> lab = CrashLab(seed=7)
    >>> broker = lab.open_broker()
    >>> _ = broker.create_topic("orders", configs={"flush_messages": 1})  # an ack waits for the disk
    >>> with Producer(broker) as producer:
    ...     metadata = producer.send("orders", b"paid").result()
    >>> lab.cut_power()
    >>> broker = lab.open_broker()
    >>> with Consumer(broker, "orders", auto_offset_reset="earliest", group_id="g") as consumer:
    ...     consumer.poll(timeout_ms=100).values()
    [b'paid']
    >>> broker.close()

    At every moment: `explore` runs a program once and, after each single change of the disk, opens a
    broker on everything that a crash there can leave, and has it checked.

    >>> acknowledged = []
    >>> def program(broker):
    ...     broker.create_topic("payments", configs={"flush_messages": 1})
    ...     with Producer(broker) as producer:
    ...         for value in (b"1", b"2"):
    ...             producer.send("payments", value).result()
    ...             acknowledged.append(value)
    >>> def check(broker):
    ...     if acknowledged:
    ...         with Consumer(broker, "payments", auto_offset_reset="earliest", group_id="g") as consumer:
    ...             found = consumer.poll(timeout_ms=100).values()
    ...         assert found[: len(acknowledged)] == acknowledged
    >>> report = CrashLab(seed=7).explore(program, check, states_per_step=3)
    >>> report.states > report.steps > 20
    True

    Time is a `VirtualClock`, *clock*; whatever chance decides is decided by *seed*. The broker's
    configuration is given as for `Broker`.

    Threads: one.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        config: Mapping[str, object] | None = None,
        **broker_config: Unpack[BrokerOptions],
    ) -> None:
        self.clock = VirtualClock()
        """The time of all brokers of this lab."""
        self.filesystem = CrashFileSystem()
        """The disk, as the next broker finds it. Another one after each crash."""
        self._seed = seed
        self._config = config
        self._broker_config = broker_config
        self._chance = RandomSource(seed).stream("power cuts")
        self._broker: Broker | None = None

    # ---- by hand

    def open_broker(self) -> Broker:
        """Open a broker on the disk and return it. Raises as `Broker` does."""
        self._broker = self._open(self.filesystem, self.clock)
        return self._broker

    def kill(self) -> None:
        """Let the process die, as by ``kill -9``: what was stored stays, nothing more is written.

        The broker and its clients raise `ClosedError` from now on. Time does not stand still for it:
        what was not synced still is not.
        """
        self._end(kill_image(self.filesystem))

    def cut_power(self, keep: Literal["nothing", "everything", "chance"] = "nothing") -> None:
        """Cut the power. Of what was not synced *keep* nothing, everything, or what chance has it.

        The broker and its clients raise `ClosedError` from now on.
        """
        if keep not in ("nothing", "everything", "chance"):
            raise ValueError(f"keep: expected 'nothing', 'everything' or 'chance', found {keep!r}")
        images = list(power_images(self.filesystem, self._chance))
        choice = {"nothing": 0, "everything": 1}.get(keep)
        self._end(images[choice] if choice is not None else self._chance.choice(images))

    def _end(self, image: CrashImage) -> None:
        old, self.filesystem = self.filesystem, image.filesystem()
        old.switch_off()
        if self._broker is not None:
            _abandon(self._broker, "its process or its power ended")
            self._broker = None

    # ---- at every moment

    def explore(
        self,
        program: Callable[[Broker], object],
        check: Callable[[Broker], object],
        *,
        states_per_step: int | None = None,
        only_step: int | None = None,
    ) -> CrashReport:
        """Run *program* with a broker on this disk, crash it everywhere, and *check* what is left.

        A step is one change of the disk: a store, a name, a sync; opening and closing the broker have
        their steps too. After each, *check* gets a broker opened on what a kill leaves, and one on
        each disk that a power cut can leave, or on *states_per_step* of them chosen by chance; all
        while *program* stands still, so *check* may look at what *program* had acknowledged by then.

        Raises `CrashFailureError` when *check* raises, or when a broker does not open; *only_step*
        goes to that step alone.
        """
        disk, steps, states = self.filesystem, 0, 0
        failure: CrashFailureError | None = None

        def crash(what: str) -> None:
            nonlocal steps, states, failure
            steps += 1
            if failure is not None or (only_step is not None and steps != only_step):
                return
            try:
                for image in self._images(disk, states_per_step, steps):
                    states += 1
                    self._check(image, check, steps, what)
            except CrashFailureError as error:
                # Raised at the end: from in here the broker would take it for a failure of the disk.
                failure = error

        disk.on_step = crash
        try:
            with self.open_broker() as broker:
                program(broker)
            crash("the end")
        finally:
            disk.on_step = None
            if failure is not None:
                raise failure
        return CrashReport(steps, states)

    def _images(
        self, disk: CrashFileSystem, states_per_step: int | None, step: int
    ) -> Iterable[CrashImage]:
        # A stream for each step: what happens at one does not depend on which others were looked at.
        chance = RandomSource(self._seed).stream(f"step {step}")
        images: dict[int, CrashImage] = {}
        for image in power_images(disk, chance):
            images.setdefault(image.key(), image)
        chosen = list(images.values())
        if states_per_step is not None and len(chosen) > states_per_step:
            chosen = chance.sample(chosen, states_per_step)
        return [kill_image(disk), *chosen]

    def _check(
        self, image: CrashImage, check: Callable[[Broker], object], step: int, what: str
    ) -> None:
        # The time is the same, the timers are not: those of the program belong to another process.
        clock = VirtualClock(start_ms=self.clock.time_ms())
        try:
            with self._open(image.filesystem(recording=False), clock) as broker:
                check(broker)
        except Exception as error:
            end = "power cut" if image.power_failed else "killed"
            raise CrashFailureError(
                f"seed {self._seed}, step {step} ({what}), {end}, left: {image.description}: {error!r}",
                step=step,
            ) from error

    def _open(self, filesystem: CrashFileSystem, clock: VirtualClock) -> Broker:
        return Broker(
            _PATH,
            clock=clock,
            filesystem=filesystem,
            seed=self._seed,
            config=self._config,
            **self._broker_config,
        )


def _abandon(broker: Broker, why: str) -> None:
    broker.scheduler.close()
    broker.abandon(ClosedError(f"broker {broker.path} is closed: {why}"))
