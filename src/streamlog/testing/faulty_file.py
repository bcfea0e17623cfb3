"""One open file of a `FaultyFileSystem`."""

# The methods are documented where they are declared, in `File`.
# ruff: noqa: D102
from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.runtime import File
from streamlog.runtime.disk_errors import injected_error, raise_translated
from streamlog.testing.crash_file import CrashFile

if TYPE_CHECKING:
    from streamlog.runtime import Mapping
    from streamlog.testing.fault_plan import Fault, FaultPlan


class FaultyFile(File):
    """Passes every call on to the file *inner*, unless *plan* has it fail."""

    __slots__ = ("_inner", "_plan", "path")

    def __init__(self, inner: File, plan: FaultPlan) -> None:
        self._inner = inner
        self._plan = plan
        self.path = inner.path

    def size(self) -> int:
        self._check("size", "ask for the size")
        return self._inner.size()

    def allocate(self, start: int, end: int) -> None:
        # On a real disk it may have grown half-way when it fails; File promises that it is cut back.
        self._check("allocate", f"allocate {end - start} bytes at {start}")
        self._inner.allocate(start, end)

    def truncate(self, size: int) -> None:
        self._check("truncate", f"set the size to {size} bytes")
        self._inner.truncate(size)

    def read_at(self, position: int, size: int) -> bytes:
        self._check("read_at", f"read {size} bytes at {position}")
        return self._inner.read_at(position, size)

    def write_at(self, position: int, data: bytes | bytearray | memoryview) -> None:
        fault = self._plan.check("write_at", self.path)
        if fault is not None:
            view = memoryview(data).cast("B")
            written = len(view) // 2 if fault.is_short else 0
            self._inner.write_at(position, view[:written])
            rest = len(view) - written
            self._raise(fault, f"write {rest} bytes at {position + written}")
        self._inner.write_at(position, data)

    def map(self, size: int, *, writable: bool) -> Mapping:
        self._check("map", f"map {size} bytes")
        return self._inner.map(size, writable=writable)

    def sync_data(self) -> None:
        self._check_sync("sync_data", "sync the data")
        self._inner.sync_data()

    def sync(self) -> None:
        self._check_sync("sync", "sync the file")
        self._inner.sync()

    def _check_sync(self, call: str, attempt: str) -> None:
        fault = self._plan.check(call, self.path)
        if fault is None:
            return
        if fault.errno is not None and isinstance(self._inner, CrashFile):
            self._inner.fail_sync()  # what could not be written is not tried again
        self._raise(fault, attempt)

    def close(self) -> None:
        fault = self._plan.check("close", self.path)
        self._inner.close()  # whatever the system says, the descriptor is gone
        if fault is not None:
            self._raise(fault, "close the file")

    def _check(self, call: str, attempt: str) -> None:
        fault = self._plan.check(call, self.path)
        if fault is not None:
            self._raise(fault, attempt)

    def _raise(self, fault: Fault, attempt: str) -> None:
        if fault.errno is not None:
            raise_translated(injected_error(fault.errno), self.path, attempt)

    def __repr__(self) -> str:
        return f"<FaultyFile {self._inner!r}>"
