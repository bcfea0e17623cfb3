"""Every way in which a file can be damaged: enumerated, and made up at random.

A case has a name, ``flip /data/STATE 17 255``, from which it can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

from tests.crash.damage_data import CLEAN, DIRECTORY, Damage, Dataset, is_log, partition_of

SECTOR_BYTES = 512

#: In preallocated room, where all bytes are alike, this many are damaged one by one, and then one in so many.
_ROOM_BYTES, _ROOM_STRIDE = 600, 211


class Case(NamedTuple):
    """One damage to one file (or to two, which are swapped)."""

    kind: str
    path: str
    arguments: tuple[int | str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.kind, self.path, *map(str, self.arguments)))

    @classmethod
    def parse(cls, text: str) -> Case:
        """Return the case that was printed as *text*."""
        kind, path, *arguments = text.split(" ")
        return cls(kind, path, tuple(int(a) if a.isdigit() else a for a in arguments))


def apply(dataset: Dataset, cases: tuple[Case, ...]) -> Damage:
    """Return what *cases*, one after the other, make of the files of *dataset*: only those that they touch."""
    damage: dict[str, Any] = {}
    for case in cases:

        def look(path: str) -> bytes:
            data = damage.get(path, dataset.files[path])
            return data if isinstance(data, bytes) else b""

        damage.update(_DAMAGES[case.kind](dataset, look, case.path, *case.arguments))
    return damage


# ---- the damages: (dataset, look, path, ...) -> what the files become

Look = Callable[[str], bytes]


def _flip(_: Dataset, look: Look, path: str, position: int, mask: int) -> Damage:
    data = bytearray(look(path))
    if position < len(data):
        data[position] ^= mask
    return {path: bytes(data)}


def _zero(_: Dataset, look: Look, path: str, position: int) -> Damage:
    data = look(path)
    end = min(position + SECTOR_BYTES, len(data))
    return {path: data[:position] + bytes(max(end - position, 0)) + data[end:]}


def _cut(_: Dataset, look: Look, path: str, size: int) -> Damage:
    return {path: look(path)[:size]}


def _junk(_: Dataset, look: Look, path: str, size: int, seed: int) -> Damage:
    """Append random bytes; seed 0 stands for zeros."""
    junk = random.Random(seed).randbytes(size) if seed else bytes(size)
    return {path: look(path) + junk}


def _append_batch(dataset: Dataset, look: Look, path: str, number: int) -> Damage:
    """Append a copy of a batch, where the next one would stand."""
    data, batch = look(path), dataset.batches[path][number]
    return {path: data + bytes(-len(data) % 8) + dataset.files[path][batch.position : batch.end]}


def _repeat(dataset: Dataset, look: Look, path: str, number: int) -> Damage:
    """Insert a copy of a batch behind it."""
    data, batch = look(path), dataset.batches[path][number]
    return {path: data[: batch.end] + data[batch.position : batch.end] + data[batch.end :]}


def _remove(dataset: Dataset, look: Look, path: str, number: int) -> Damage:
    data, batch = look(path), dataset.batches[path][number]
    return {path: data[: batch.position] + data[batch.end :]}


def _reorder(dataset: Dataset, look: Look, path: str, number: int) -> Damage:
    """Swap a batch and the one behind it."""
    data, (one, two) = look(path), dataset.batches[path][number : number + 2]
    return {
        path: data[: one.position]
        + data[two.position : two.end]
        + data[one.position : one.end]
        + data[two.end :]
    }


def _delete(_: Dataset, look: Look, path: str) -> Damage:
    return {path: None}


def _directory(_: Dataset, look: Look, path: str) -> Damage:
    return {path: DIRECTORY}


def _swap(_: Dataset, look: Look, path: str, other: str) -> Damage:
    return {path: look(other), other: look(path)}


_DAMAGES: dict[str, Callable[..., Damage]] = {
    "flip": _flip,
    "zero": _zero,
    "cut": _cut,
    "junk": _junk,
    "append": _append_batch,
    "repeat": _repeat,
    "remove": _remove,
    "reorder": _reorder,
    "delete": _delete,
    "directory": _directory,
    "swap": _swap,
}


# ---- all of them


def single_damages(dataset: Dataset) -> Iterator[Case]:
    """Yield every single damage to *dataset*."""
    for path, data in dataset.files.items():
        places = list(_places(dataset, path))
        for position in places:
            yield Case("flip", path, (position, 0xFF))
            yield Case("flip", path, (position, 1 << position % 8))
            yield Case("cut", path, (position,))
        for position in range(0, len(data), SECTOR_BYTES):
            yield Case("zero", path, (position,))
        for size in (1, 7, 8, 79, 80, 512, 4096):
            for seed in (0, 1, 2):
                yield Case("junk", path, (size, seed))
        yield Case("delete", path)
        yield Case("directory", path)
        batches = dataset.batches.get(path, [])
        for number in range(len(batches)):
            for kind in ("append", "repeat", "remove"):
                yield Case(kind, path, (number,))
            if number + 1 < len(batches):
                yield Case("reorder", path, (number,))
    for path, other in combinations(dataset.files, 2):
        if _can_be_told_apart(path, other):
            yield Case("swap", path, (other,))


def _can_be_told_apart(path: str, other: str) -> bool:
    """Whether the format can tell that two files were swapped: not the logs of two partitions (docs/decisions/0002)."""
    return not ((".log" in path and ".log" in other) and partition_of(path) != partition_of(other))


def _places(dataset: Dataset, path: str) -> Iterator[int]:
    """Yield the positions to damage in the file at *path*: every one that holds something."""
    size = len(dataset.files[path])
    used = size
    if dataset.state != CLEAN and is_log(path):
        batches = dataset.batches.get(path, [])
        used = min(size, (batches[-1].end if batches else 0) + _ROOM_BYTES)
    elif "/quarantine/" in path:
        used = min(size, _ROOM_BYTES)  # nobody reads it
    yield from range(used)
    yield from range(used, size, _ROOM_STRIDE)


def random_damages(dataset: Dataset, rng: random.Random) -> tuple[Case, ...]:
    """Return two to six damages, often to the same partition."""
    paths = list(dataset.files)
    if rng.random() < 0.7:
        directory = rng.choice(paths).rpartition("/")[0]
        paths = [path for path in paths if path.startswith(directory + "/")]
    while True:
        cases = tuple(
            _random_damage(dataset, rng, rng.choice(paths)) for _ in range(rng.randint(2, 6))
        )
        if can_be_told_apart(cases):
            return cases


def can_be_told_apart(cases: tuple[Case, ...]) -> bool:
    """Whether no log is where one of another partition was, also when it came there in several steps, by way of other files."""
    origins: dict[str, str] = {}
    for case in cases:
        if case.kind == "swap":
            path, other = case.path, str(case.arguments[0])
            origins[path], origins[other] = origins.get(other, other), origins.get(path, path)
    return all(_can_be_told_apart(path, origin) for path, origin in origins.items())


def _random_damage(dataset: Dataset, rng: random.Random, path: str) -> Case:
    size, batches = len(dataset.files[path]), dataset.batches.get(path, [])
    if batches and dataset.state != CLEAN and rng.random() < 0.9:
        size = batches[-1].end + 64
    kind = rng.choice(("flip", "flip", "flip", "zero", "cut", "junk", "structure", "name"))
    if kind == "flip":
        return Case(kind, path, (rng.randrange(size), rng.randint(1, 255)))
    if kind in ("zero", "cut"):
        return Case(kind, path, (rng.randrange(size),))
    if kind == "junk" or (kind == "structure" and len(batches) < 2):
        return Case("junk", path, (rng.randint(1, 300), rng.randrange(1000)))
    if kind == "structure":
        kind = rng.choice(("append", "repeat", "remove", "reorder"))
        return Case(kind, path, (rng.randrange(len(batches) - 1),))
    other = rng.choice([other for other in dataset.files if _can_be_told_apart(path, other)])
    kind = rng.choice(("delete", "directory", "swap"))
    return Case(kind, path, (other,) if kind == "swap" else ())
