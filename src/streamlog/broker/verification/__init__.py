"""Checking a data directory end to end, and making again what is derived in it.

`directory_verification.py` goes through the files around the logs and asks `storage.verification` about each log;
`directory_repair.py` makes again what it says can be made again.
"""

from streamlog.broker.verification.directory_repair import repair_directory
from streamlog.broker.verification.directory_verification import DirectoryVerification

__all__ = ["DirectoryVerification", "repair_directory"]
