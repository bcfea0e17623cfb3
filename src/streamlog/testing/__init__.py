"""Helpers for tests of programs that use streamlog. Nothing in the library imports this.

Give them to a broker: ``Broker(clock=VirtualClock())``, ``Broker("data", filesystem=MemoryFileSystem())``. With
``Broker(clock=VirtualClock(), seed=7)``, used by one thread, a run can be had again exactly: chance follows from the seed.

* `VirtualClock`: waiting takes no time, timers run in order, nothing depends on the machine
* `MemoryFileSystem`: a disk in memory, as full as you like
* `FaultyFileSystem`: breaks any other one, call by call, as a `FaultPlan` says
* `CrashLab`: a broker that is killed, or whose power is cut, at any moment or at every one; on a
  `CrashFileSystem`, which knows what would be lost
"""

from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.testing.crash_filesystem import CrashFileSystem
from streamlog.testing.crash_lab import CrashFailureError, CrashLab, CrashReport
from streamlog.testing.fault_plan import FILE_SYSTEM_CALLS, Fault, FaultPlan, Injection
from streamlog.testing.faulty_filesystem import FaultyFileSystem

__all__ = [
    "FILE_SYSTEM_CALLS",
    "CrashFailureError",
    "CrashFileSystem",
    "CrashLab",
    "CrashReport",
    "Fault",
    "FaultPlan",
    "FaultyFileSystem",
    "Injection",
    "MemoryFileSystem",
    "VirtualClock",
]
