"""Write docs/transaction-states.md from the table of states.

Run it after changing that: ``python docs/generate_transaction_states.py``. A test compares the two.
"""

from __future__ import annotations

from pathlib import Path

from streamlog.broker.transactions.state import TRANSITIONS, TransactionState

TARGET = Path(__file__).with_name("transaction-states.md")

INTRODUCTION = """\
# States of a transactional id

<!-- Written by docs/generate_transaction_states.py from the table in src/streamlog/broker/transactions/state.py; change that instead. -->

The table leads an id from one transaction to the next (TXN-1): a pair of state and event that it lacks cannot happen, and
raises `IllegalStateError`. From the three states in which nothing is under way, `expired` leads to `dead` (TXN-12).
"""

MEANINGS = "| state | meaning |\n|---|---|"

DOCUMENTATION = {
    TransactionState.EMPTY: "A producer took the id and has begun nothing yet.",
    TransactionState.ONGOING: "Partitions or offsets belong to the transaction; it is not decided. Not stored.",
    TransactionState.PREPARE_COMMIT: "Decided, and on disk: it counts. Markers are being written.",
    TransactionState.PREPARE_ABORT: "Decided: it counts for nothing. Markers are being written.",
    TransactionState.COMPLETE_COMMIT: "Every partition has its marker.",
    TransactionState.COMPLETE_ABORT: "The same for an abort.",
    TransactionState.DEAD: "Nothing is remembered of the id.",
    TransactionState.PREPARE_EPOCH_FENCE: "Its producer is shut out, by a newer one or by the clock; the abort comes next. Not stored.",
}


def drawing() -> str:
    """Return the table in Mermaid's words; what leads to the end is left to the text."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {TransactionState.EMPTY.value}"]
    lines += [
        f"    {before.value} --> {after.value}: {event.value}"
        for (before, event), after in TRANSITIONS.items()
        if after is not TransactionState.DEAD
    ]
    return "\n".join([*lines, "```", ""])


def text() -> str:
    """Return the whole document."""
    meanings = [f"| `{state.value}` | {DOCUMENTATION[state]} |" for state in TransactionState]
    return "\n".join([INTRODUCTION, drawing(), MEANINGS, *meanings, ""])


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
