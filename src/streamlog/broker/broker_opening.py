"""What a broker does before it can be used: look at its arguments, open the directory and all that is in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from streamlog.broker.broker_resources import BrokerResources
from streamlog.broker.maintenance import Maintenance
from streamlog.broker.read_only_topics import ReadOnlyTopics
from streamlog.broker.topic_registry import TopicRegistry
from streamlog.errors import InvalidConfigurationError, StreamlogError
from streamlog.runtime import Clock, FileSystem, MemoryFileSystem, OsFileSystem, Runtime
from streamlog.storage.data_directory import DataDirectory
from streamlog.storage.read_only_directory import ReadOnlyDirectory

if TYPE_CHECKING:
    from streamlog.config import BrokerConfig
    from streamlog.runtime import Scheduler
    from streamlog.structs import Durability

_logger = logging.getLogger("streamlog")


def check_path(path: object) -> None:
    """Raise TypeError or `InvalidConfigurationError` for what cannot be a data directory."""
    if isinstance(path, Mapping):
        raise TypeError(
            f"Broker: expected a directory as the path, found a {type(path).__name__}: give a"
            " configuration as config={...}"
        )
    if not isinstance(path, str) and not hasattr(path, "__fspath__"):
        raise TypeError(f"Broker: expected a directory as the path, found {path!r:.80}")
    if path in ("", ":memory:"):
        raise InvalidConfigurationError(
            f"path: expected a directory, found {path!r}; Broker() lives in memory"
        )


def check_arguments(clock: object, filesystem: object, seed: object) -> None:
    """Raise TypeError for what can be no clock, file system or seed."""
    for name, found, expected in (
        ("clock", clock, Clock),
        ("filesystem", filesystem, FileSystem),
        ("seed", seed, int),
    ):
        if found is not None and not isinstance(found, expected):
            raise TypeError(
                f"Broker: {name}: expected {expected.__name__} or None, found {found!r:.80}"
            )


def check_read_only(read_only: object, path: object, filesystem: object) -> None:
    """Raise TypeError for no bool, `InvalidConfigurationError` where there can be nothing to read."""
    if not isinstance(read_only, bool):
        raise TypeError(f"Broker: read_only: expected a bool, found {read_only!r:.80}")
    if read_only and path is None and filesystem is None:
        raise InvalidConfigurationError(
            "read_only: expected the path of a directory, found none: a new broker in memory is empty"
        )


def choose_filesystem(path: str | None, filesystem: FileSystem | None) -> FileSystem:
    """Return *filesystem*, or where the broker's files go without one. Raises TypeError."""
    if filesystem is None:
        return MemoryFileSystem() if path is None else OsFileSystem()
    if path is None and not isinstance(filesystem, MemoryFileSystem):
        # It may write to the real one, where this would be a directory next to the root.
        raise TypeError(
            "Broker: a file system needs a path: expected a directory in the "
            f"{type(filesystem).__name__}, found None"
        )
    return filesystem


def open_read_only(
    path: str, config: BrokerConfig, runtime: Runtime, promise: Durability
) -> BrokerResources:
    """Open the directory for reading and all that is in it; on an error, give back what was opened so far."""
    directory: ReadOnlyDirectory | None = None
    scheduler: Scheduler | None = None
    try:
        directory = ReadOnlyDirectory.open(
            path, runtime, max_open_segments=config.max_open_segments
        )
        scheduler = runtime.clock.new_scheduler(f"streamlog-reader-{config.broker_id}")
        written_by_others = cast("DataDirectory", directory)
        # Never started: there is nothing that it may do by the clock.
        maintenance = Maintenance(runtime, scheduler, written_by_others, config)
        topics = ReadOnlyTopics(runtime, scheduler, directory, maintenance, config, promise)
        topics.open()
        return BrokerResources(runtime, scheduler, written_by_others, maintenance, topics)
    except BaseException:
        give_back(scheduler, cast("DataDirectory | None", directory))
        raise


def open_resources(
    path: str, config: BrokerConfig, runtime: Runtime, promise: Durability
) -> BrokerResources:
    """Open the directory and all that is in it; on an error, give back what was opened so far."""
    directory: DataDirectory | None = None
    scheduler: Scheduler | None = None
    try:
        directory = DataDirectory.open(
            path,
            runtime,
            max_open_segments=config.max_open_segments,
            allow_network_fs=config.allow_network_fs,
            min_free_bytes=config.min_free_bytes,
        )
        scheduler = runtime.clock.new_scheduler(f"streamlog-broker-{config.broker_id}")
        maintenance = Maintenance(runtime, scheduler, directory, config)
        topics = TopicRegistry(runtime, directory, maintenance, config, promise)
        topics.open()
        maintenance.start(topics.partitions)
        return BrokerResources(runtime, scheduler, directory, maintenance, topics)
    except BaseException:
        give_back(scheduler, directory)
        raise


def give_back(scheduler: Scheduler | None, directory: DataDirectory | None) -> None:
    """Let go of what a broker that will not be had opened. What goes wrong with that is logged: an error is on its way already."""
    try:
        if scheduler is not None:
            scheduler.close()
    finally:
        if directory is not None:
            try:
                # Clean only if it was: logs that were not opened yet still have to be recovered.
                directory.close(clean=directory.recovery_report.clean)
            except (StreamlogError, OSError):
                _logger.exception("%s: opened in part, and not closed properly", directory.path)
