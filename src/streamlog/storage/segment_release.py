"""Letting go of segments that no log came to have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from streamlog.storage.segment import Segment


@contextmanager
def released_on_error(segments: Sequence[Segment]) -> Iterator[None]:
    """Let go of the files of *segments*, to which may be added meanwhile, when what is done here raises: Ctrl-C as well.

    `OpenSegments` knows those that hold descriptors, so they would keep them after the last one who knows them had gone.
    """
    try:
        yield
    except BaseException:
        for segment in segments:
            segment.release_files()
        raise
