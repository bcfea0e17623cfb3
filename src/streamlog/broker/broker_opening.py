"""What a broker does before it can be used: look at its arguments, open the directory and all that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from streamlog.broker.broker_resources import BrokerResources
from streamlog.broker.maintenance import Maintenance
from streamlog.broker.topic_registry import TopicRegistry
from streamlog.errors import InvalidConfigurationError
from streamlog.runtime import FileSystem, MemoryFileSystem, OsFileSystem, Runtime
from streamlog.storage.data_directory import DataDirectory

if TYPE_CHECKING:
    from streamlog.config import BrokerConfig
    from streamlog.runtime import Scheduler
    from streamlog.structs import Durability


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


def open_resources(
    path: str, config: BrokerConfig, runtime: Runtime, promise: Durability
) -> BrokerResources:
    """Open the directory and all that is in it; on an error, give back what was opened so far."""
    directory = DataDirectory.open(
        path,
        runtime,
        max_open_segments=config.max_open_segments,
        allow_network_fs=config.allow_network_fs,
        min_free_bytes=config.min_free_bytes,
    )
    scheduler: Scheduler | None = None
    try:
        scheduler = runtime.clock.new_scheduler(f"streamlog-broker-{config.broker_id}")
        maintenance = Maintenance(runtime, scheduler, directory, config)
        topics = TopicRegistry(runtime, directory, maintenance, config, promise)
        topics.open()
        maintenance.start(topics.partitions)
        return BrokerResources(runtime, scheduler, directory, maintenance, topics)
    except BaseException:
        if scheduler is not None:
            scheduler.close()
        # Clean only if it was: logs that were not opened yet still have to be recovered.
        directory.close(clean=directory.recovery_report.clean)
        raise
