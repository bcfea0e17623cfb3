"""What the tests of others say, held against what is known to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Verdict(NamedTuple):
    """The outcome of one test."""

    test: str
    outcome: str
    seconds: float
    said: str = ""
    """The end of what it printed."""
    tries: int = 1


def report(suite: str, verdicts: Sequence[Verdict], known: Mapping[str, str], least: int) -> bool:
    """Print a table; return whether at least *least* passed, only the *known* ones failed, and none of these passed."""
    print(f"\n{suite}")
    is_good = True
    for one in sorted(verdicts):
        reason = known.get(one.test, "")
        expected = SKIPPED if one.outcome == SKIPPED else FAILED if reason else PASSED
        mark = "" if one.outcome == expected else "  UNEXPECTED"
        is_good = is_good and not mark
        again = f"  at try {one.tries}" if one.tries > 1 else ""
        if mark or reason or again or one.outcome != PASSED:
            print(f"  {one.test:60} {one.outcome:8} {one.seconds:6.1f} s{again}{mark}")
        if mark and one.outcome == FAILED:
            print("    | " + "\n    | ".join(one.said.splitlines()))
        elif reason:
            print(f"    {reason}")
    gone = sorted(set(known) - {one.test for one in verdicts})
    if gone:
        print(f"  expected to fail, and not there at all: {', '.join(gone)}")
        is_good = False
    counts = {
        outcome: sum(one.outcome == outcome for one in verdicts)
        for outcome in (PASSED, FAILED, SKIPPED)
    }
    print(
        f"  {len(verdicts)} tests: "
        + ", ".join(f"{number} {name}" for name, number in counts.items())
    )
    if counts[PASSED] < least:
        print(f"  expected at least {least} to pass")
        is_good = False
    return is_good
