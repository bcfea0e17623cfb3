"""Which kind of file system a path is on."""

from __future__ import annotations

import os
import re

MOUNTS_FILE = "/proc/self/mountinfo"

# Their locks, their maps or their syncs do not promise what a local disk does.
_NETWORK_TYPES = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "gpfs", "lustre", "ncpfs"}
    | {"nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb3", "smbfs"}
    | {"fuse.ceph", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.mfs"}
    | {"fuse.curlftpfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)
_ESCAPE = re.compile(r"\\([0-7]{3})")


def is_network(path: str, mounts_file: str = MOUNTS_FILE) -> bool:
    """Return whether *path* is on a network file system; False where that cannot be told."""
    if path.startswith("\\\\"):
        return True  # a Windows share
    return file_system_type(path, mounts_file) in _NETWORK_TYPES


def file_system_type(path: str, mounts_file: str = MOUNTS_FILE) -> str:
    """Return the type name of the file system that holds *path*, or "" if not known."""
    try:
        with open(mounts_file, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    real_path = os.path.realpath(path)
    longest, found = -1, ""
    for line in lines:
        # 36 35 98:0 /root /mount/point options [tags] - type source options; see proc(5)
        before, _, after = line.partition(" - ")
        mount_point = _ESCAPE.sub(lambda code: chr(int(code[1], 8)), before.split(" ")[4])
        inside = real_path == mount_point or real_path.startswith(mount_point.rstrip("/") + "/")
        # A later mount on the same point hides the earlier one.
        if inside and len(mount_point) >= longest:
            longest, found = len(mount_point), after.split(" ")[0]
    return found
