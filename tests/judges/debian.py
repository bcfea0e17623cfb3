"""Packages of Debian, fetched and unpacked into a folder by anybody, without installing them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

RELEASE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def why_not(*programs: str) -> str:
    """Return what is missing on this machine of *programs* and of what packages are checked with, or nothing."""
    missing = [name for name in programs if not shutil.which(name)]
    if not _KEYRING.exists():
        missing.append(str(_KEYRING))
    return f"needs {', '.join(missing)}" if missing else ""


class DebianFolder:
    """The state of an apt of our own, in *home*: neither the sources nor the packages of the machine are looked at or changed."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.root = self.home / "root"
        """Where packages are unpacked."""

    def update(self) -> None:
        """Fetch the lists of packages."""
        for folder in ("lists/partial", "archives/partial", "root"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        (self.home / "status").touch()
        (self.home / "sources.list").write_text(
            "".join(
                f"{kind} [signed-by={_KEYRING}] {MIRROR} {RELEASE} main\n"
                for kind in ("deb", "deb-src")
            )
        )
        self._apt("update")

    def unpack(self, *packages: str) -> None:
        """Fetch binary packages, ``name`` or ``name=version``, and put their files under `root`."""
        folder = self.home / "debs"
        folder.mkdir(exist_ok=True)
        self._apt("download", *packages, cwd=folder)
        for file in sorted(folder.glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", file, self.root], check=True)

    def source(self, package: str) -> Path:
        """Fetch the source of ``name=version``; return the archive of its authors."""
        folder = self.home / "source"
        folder.mkdir(exist_ok=True)
        self._apt("source", "--download-only", package, cwd=folder)
        (archive,) = folder.glob("*.orig.tar.*")
        return archive

    def _apt(self, *arguments: str, cwd: Path | None = None) -> None:
        places = {
            "Dir::Etc::SourceList": self.home / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State::Lists": self.home / "lists",
            "Dir::State::status": self.home / "status",
            "Dir::Cache": self.home,
            "Dir::Cache::archives": self.home / "archives",
            # Who may not change to another user has no need to.
            "APT::Sandbox::User": "",
            "Acquire::Retries": 3,
        }
        options = [part for name, value in places.items() for part in ("-o", f"{name}={value}")]
        subprocess.run(["apt-get", "--quiet=2", *options, *arguments], cwd=cwd, check=True)
