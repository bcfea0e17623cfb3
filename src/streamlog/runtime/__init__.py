"""Time, threads, files, chance and the host: the one door to the world outside.

No other layer imports `time`, `random`, `threading`, `os` or `mmap` or opens a file, so whoever
replaces a `Runtime` controls everything that could make two runs differ.

* time: `Clock` (`SystemClock`, `VirtualClock`), `Scheduler`, `Timer`, `Signal`
* threads: `Lock`, `RLock`, `Condition`, `ThreadLocal`, `get_ident`, `spawn`, `on_fork_in_child`
* files: `FileSystem` (`OsFileSystem`, `MemoryFileSystem`), `File`, `Mapping`, `DirectoryLock`, paths
* chance: `RandomSource` and its streams, `Chance`
* the machine: `boot_id`, `pid`, `fd_limit`
"""

from streamlog.runtime.clock import Clock
from streamlog.runtime.filesystem import (
    LOCK_FILE_NAME,
    TEMPORARY_SUFFIX,
    DirectoryLock,
    File,
    FileSystem,
)
from streamlog.runtime.fork import on_fork_in_child
from streamlog.runtime.host import boot_id, fd_limit, pid
from streamlog.runtime.mapping import Mapping, Words
from streamlog.runtime.memory_filesystem import MemoryFileSystem
from streamlog.runtime.os_filesystem import OsFileSystem
from streamlog.runtime.paths import StrPath, base_name, join_path, parent_path, path_string
from streamlog.runtime.randomness import Chance, RandomSource
from streamlog.runtime.runtime import Runtime
from streamlog.runtime.scheduler import Scheduler
from streamlog.runtime.signal import Signal
from streamlog.runtime.system_clock import SystemClock
from streamlog.runtime.threads import (
    TIMEOUT_MAX,
    Condition,
    Lock,
    RLock,
    Thread,
    ThreadLocal,
    current_thread,
    get_ident,
    spawn,
)
from streamlog.runtime.timer import Timer
from streamlog.runtime.token_lock import TOKEN, TokenLock, locked
from streamlog.runtime.virtual_clock import VirtualClock

__all__ = [
    "Runtime",
    # time
    "Clock",
    "SystemClock",
    "VirtualClock",
    "Scheduler",
    "Timer",
    "Signal",
    # threads
    "TIMEOUT_MAX",
    "Condition",
    "Lock",
    "TokenLock",
    "TOKEN",
    "locked",
    "RLock",
    "Thread",
    "ThreadLocal",
    "current_thread",
    "get_ident",
    "on_fork_in_child",
    "spawn",
    # files
    "LOCK_FILE_NAME",
    "TEMPORARY_SUFFIX",
    "DirectoryLock",
    "File",
    "FileSystem",
    "Mapping",
    "MemoryFileSystem",
    "OsFileSystem",
    "StrPath",
    "Words",
    "base_name",
    "join_path",
    "parent_path",
    "path_string",
    # chance
    "Chance",
    "RandomSource",
    # the machine
    "boot_id",
    "fd_limit",
    "pid",
]
