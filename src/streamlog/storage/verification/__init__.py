"""Checking a log end to end without changing it, and making again what is derived from it.

`log_verification.py` goes through one log; `batch_walk.py` walks its files, also across damage (`streamlog dump` uses it as well); the
other modules each hold one kind of file, or one rule, against what the walk finds. `repair.py` is the only one that writes.
"""

from streamlog.storage.verification.finding import Finding, Severity
from streamlog.storage.verification.log_verification import LogVerification

__all__ = ["Finding", "LogVerification", "Severity"]
