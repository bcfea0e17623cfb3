"""Promise P7: a full disk is an exception, never a signal, and costs no offset; room that is made is used at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.full_disk_child import WAYS

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs"),
]


def run_child(path: str, way: str) -> None:
    """Run the child and fail with what it said; a death by SIGBUS would be a store into a place without room."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.full_disk_child", path, way],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    if done.returncode < 0:
        pytest.fail(f"killed by {signal.Signals(-done.returncode).name}\n{done.stderr}")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Call it with a size: a disk of its own, where that is allowed."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("only root can mount a small tmpfs")
        at = tmp_path / "disk"
        at.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small tmpfs could not be mounted: {done.stderr.strip()}")
        mounted.append(at)
        return at

    yield mount
    for at in mounted:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"file size limit"}))
def test_disk_filled_to_the_last_byte_is_an_error_and_freed_room_resumes(
    way: str, small_disk: Callable[[str], Path]
) -> None:
    # The reserve is 16 MiB, which nobody takes records into.
    disk = small_disk("18m" if way == "reserve" else "2m")
    run_child(str(disk / "data"), way)


def test_limit_on_the_size_of_files_is_a_full_disk_for_each_of_them(tmp_path: Path) -> None:
    """RLIMIT_FSIZE needs no root: EFBIG, short writes before it, and no SIGXFSZ (F5)."""
    run_child(str(tmp_path / "data"), "file size limit")
