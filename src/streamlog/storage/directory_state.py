"""STATE: how a data directory was left, and where recovery starts for each log."""

from __future__ import annotations

from typing import Any

import attrs

from streamlog.errors import CorruptLogError, UnsupportedFormatError
from streamlog.runtime import FileSystem
from streamlog.storage.checkpoint_file import read_checkpoint, write_checkpoint
from streamlog.storage.partition_checkpoint import PartitionCheckpoint

STATE_NAME = "STATE"
_CLEAN, _DIRTY = "CLEAN", "DIRTY"


@attrs.define
class DirectoryState:
    """What STATE says. Source: Kafka ``CleanShutdownFileHandler`` and its checkpoint files, in one."""

    #: Whether the directory was closed, with everything on the disk.
    is_clean: bool = True
    #: How often it was opened for writing.
    generation: int = 0
    #: The boot of the machine that it was written in; "" where that is not known.
    boot_id: str = ""
    #: Whether every log was recovered from what happened before that boot. If a crash after a power loss interrupts that, the next
    #: open still has the power loss before it, however long the machine has been up.
    is_recovered: bool = True
    #: What is known of each log, by its key.
    checkpoints: dict[str, PartitionCheckpoint] = attrs.Factory(dict)

    def power_may_have_failed(self, boot_id: str) -> bool:
        """Whether pages may have been lost by the boot *boot_id*: not closed, and the machine was restarted, or may have been."""
        same_boot = self.boot_id == boot_id != ""
        return not self.is_clean and not (same_boot and self.is_recovered)

    def write(self, filesystem: FileSystem, path: str) -> None:
        """Replace the file at *path*; durable when it returns."""
        content = {
            "state": _CLEAN if self.is_clean else _DIRTY,
            "generation": self.generation,
            "boot_id": filesystem.boot_id(),
            "recovered": self.is_recovered,
            "logs": {key: checkpoint.pack() for key, checkpoint in self.checkpoints.items()},
        }
        write_checkpoint(filesystem, path, STATE_NAME, content)

    @classmethod
    def read(cls, filesystem: FileSystem, path: str) -> DirectoryState:
        """Return what the file at *path* says; raises CorruptLogError when it says nothing that can be used."""
        try:
            content = read_checkpoint(filesystem, path, STATE_NAME)
        except UnsupportedFormatError as error:
            # FORMAT knows better which version this is.
            raise CorruptLogError(str(error), file=path) from error
        for name, kind in _FIELDS.items():
            if type(content.get(name)) is not kind:
                raise CorruptLogError(
                    f"{path}: field {name}: expected {kind.__name__}, found {content.get(name)!r:.100}",
                    file=path,
                )
        logs: dict[str, Any] = content["logs"]
        return cls(
            content["state"] == _CLEAN,
            content["generation"],
            content["boot_id"],
            content["recovered"],
            {key: PartitionCheckpoint.unpack(fields, key) for key, fields in logs.items()},
        )


_FIELDS = {"state": str, "generation": int, "boot_id": str, "recovered": bool, "logs": dict}
