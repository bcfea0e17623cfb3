"""Helpers for tests of programs that use streamlog. Nothing in the library imports this.

Give them to a broker: ``Broker(clock=VirtualClock())``, ``Broker("data", filesystem=MemoryFileSystem())``.
"""

from streamlog.runtime import MemoryFileSystem, VirtualClock

__all__ = ["MemoryFileSystem", "VirtualClock"]
