"""Cutting off the end of a log that is being recovered: what may be records goes to quarantine first."""

from __future__ import annotations

from streamlog.runtime import FileSystem
from streamlog.storage.batch_scan import find_next_batch
from streamlog.storage.quarantine import Quarantine
from streamlog.storage.recovery_report import PartitionRecovery, RecoveryOutcome
from streamlog.storage.segment import Segment


class LogCut:
    """Removes bytes and files of one log while nobody has it open. Used once, by its recovery."""

    def __init__(
        self,
        filesystem: FileSystem,
        directory: str,
        quarantine: Quarantine,
        recovery: PartitionRecovery,
    ) -> None:
        self._filesystem = filesystem
        self._directory = directory
        self._quarantine = quarantine
        self._recovery = recovery

    def cut(
        self,
        segments: list[Segment],
        position: int,
        size: int,
        *,
        lost_pages: bool,
        ambiguous: bool,
    ) -> None:
        """Cut the first of *segments*, a file of *size* bytes, at *position*, and delete the others; report it.

        With *lost_pages* there are good batches in what goes, so it is copied to quarantine. *ambiguous*: a lost write cannot be
        told from a damaged one. Raises OSError when the copy cannot be made, with nothing cut.
        """
        recovery, segment = self._recovery, segments[0]
        pieces = [(segment.path, position, size)] if size > position else []
        pieces += [(s.path, 0, self._filesystem.file_size(s.path)) for s in segments[1:]]
        self._report(pieces, lost_pages=lost_pages, ambiguous=ambiguous)
        recovery.message = recovery.message or f"{segment.path}: cut at byte {position}"
        self.remove_behind(segments, position, size)

    def drop_all(self, segments: list[Segment]) -> None:
        """Delete all *segments* by way of quarantine: the log has to start over where none of them begins."""
        pieces = [(s.path, 0, self._filesystem.file_size(s.path)) for s in segments]
        self._report(pieces, lost_pages=True, ambiguous=True)
        self.delete(segments[::-1])
        self._filesystem.sync_dir(self._directory)

    def _report(
        self, pieces: list[tuple[str, int, int]], *, lost_pages: bool, ambiguous: bool
    ) -> None:
        recovery = self._recovery
        recovery.outcome = RecoveryOutcome.LOST_PAGES if lost_pages else RecoveryOutcome.TORN_TAIL
        recovery.ambiguous = ambiguous
        recovery.cut_bytes = sum(end - start for _, start, end in pieces)
        if lost_pages:
            recovery.cut_records = sum(self._count_records(*piece) for piece in pieces)
            recovery.message = recovery.message or (
                f"lost pages: a bad batch at byte {pieces[0][1]} of {pieces[0][0]}, good ones behind it"
            )
            recovery.quarantine_path = self._quarantine.keep(
                self._directory.rsplit("/", 1)[-1], pieces, recovery.message
            )

    def remove_behind(self, segments: list[Segment], position: int, size: int) -> None:
        """Cut the first of *segments* at *position* and delete the others, without a copy."""
        # Newest first: a kill in between leaves a log that the next recovery cuts at the same place.
        self.delete(segments[:0:-1])
        if len(segments) > 1:
            self._filesystem.sync_dir(self._directory)
        if size > position:
            # To disk before anything is appended: stale bytes must not come back behind a new, shorter batch.
            file = self._filesystem.open(segments[0].path)
            try:
                file.truncate(position)
                file.sync()
            finally:
                file.close()

    def delete(self, segments: list[Segment]) -> None:
        """Delete the files of *segments*, in this order."""
        for segment in segments:
            for path in segment.file_paths:
                # Not a directory that took the name of an index: nobody needs it to go.
                if self._filesystem.exists(path) and not self._filesystem.is_dir(path):
                    self._filesystem.unlink(path)

    def _count_records(self, path: str, start: int, end: int) -> int:
        if end <= start:
            return 0
        file = self._filesystem.open(path, read_only=True)
        mapping = file.map(end, writable=False)
        file.close()
        count, position = 0, start
        while (found := find_next_batch(mapping, position, end, 0)) is not None:
            count += found[1].record_count
            position = found[0] + found[1].aligned_size
        return count
