from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.runtime.mounts import file_system_type, is_network

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /dev rw - devtmpfs udev rw
40 22 0:40 / /mnt/share rw,relatime shared:20 master:2 - nfs4 server:/export rw,vers=4.2
41 40 0:41 / /mnt/share/local rw - xfs /dev/sdb rw
42 22 0:42 / /mnt/with\040space rw - fuse.sshfs me@host: rw
43 22 0:43 / /mnt/covered rw - nfs server:/a rw
44 22 0:44 / /mnt/covered rw - tmpfs tmpfs rw
"""


@pytest.fixture
def mounts_file(tmp_path: Path) -> str:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return str(path)


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/", "ext4", False),
        ("/home/data", "ext4", False),
        ("/mnt/share", "nfs4", True),
        ("/mnt/share/data", "nfs4", True),
        ("/mnt/sharedata", "ext4", False),
        ("/mnt/share/local/data", "xfs", False),
        ("/mnt/with space/data", "fuse.sshfs", True),
        ("/mnt/covered/data", "tmpfs", False),
    ],
)
def test_innermost_and_latest_mount_counts(
    mounts_file: str, path: str, kind: str, network: bool
) -> None:
    assert file_system_type(path, mounts_file) == kind
    assert is_network(path, mounts_file) == network


def test_link_counts_as_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    path = tmp_path / "mountinfo"
    path.write_text(f"1 0 0:1 / {tmp_path.resolve()}/real rw - nfs server: rw\n")
    assert is_network(str(tmp_path / "link" / "data"), str(path))


def test_windows_share_is_a_network() -> None:
    assert is_network(r"\\server\share\data")


def test_without_a_list_of_mounts_nothing_is_known(tmp_path: Path) -> None:
    assert file_system_type("/", str(tmp_path / "missing")) == ""
    assert not is_network("/", str(tmp_path / "missing"))
