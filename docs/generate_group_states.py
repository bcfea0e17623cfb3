"""Write docs/group-states.md from the tables of states.

Run it after changing one: ``python docs/generate_group_states.py``. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TypeVar

from streamlog.broker.classic.state import (
    COMMIT_REFUSALS,
    HEARTBEAT_REFUSALS,
    TRANSITIONS,
    ClassicState,
)
from streamlog.broker.group_member import MemberState
from streamlog.broker.reconciliation import TRANSITIONS as MEMBER_TRANSITIONS
from streamlog.errors import StreamlogError

TARGET = Path(__file__).with_name("group-states.md")

INTRODUCTION = """\
# States of consumer groups

<!-- Written by docs/generate_group_states.py from the tables in src/streamlog/broker; change those instead. -->

Tables lead groups and members through their lives: a pair of state and event that a table lacks cannot happen, and
raises `IllegalStateError`. `Admin.describe_consumer_groups` shows the states.
"""

CLASSIC = """\
## Groups with `group_protocol="classic"`

All members go together: everybody joins, one of them assigns, everybody takes its share (GRP-1 to GRP-11). From every state
`deleted` leads to `dead`; that happens to groups without members only (GRP-12).
"""

ANSWERS = """\
What a member is told meanwhile (GRP-7, GRP-8); `RebalanceInProgressError` tells it to join again, and the
consumer does so by itself. In an empty group it is outsiders that may commit (CON-12).
"""

MEMBERS = """\
## Members with `group_protocol="consumer"`

Here each member goes its own way to the target assignment that the coordinator made (NGP-3): first it gives
back, then it confirms that by a heartbeat, and only then it receives. It is in the target's epoch from the moment
on at which it owes nothing. A static member that `left for now` keeps its partitions and is shown with epoch -2
(NGP-1).
"""

GROUPS = """\
The group as a whole is `empty` without members, `stable` when all of them are stable in the group's epoch, and
`reconciling` otherwise.
"""

State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)


def drawing(
    first: State, transitions: Mapping[tuple[State, Event], State], last: State | None = None
) -> str:
    """Return *transitions* in Mermaid's words; what leads to *last* from everywhere is left to the text."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    lines += [
        f"    {before.value} --> {after.value}: {event.value}"
        for (before, event), after in transitions.items()
        if after is not last
    ]
    return "\n".join([*lines, "```", ""])


def answers() -> str:
    """Return the table of what heartbeats and commits are told in each state of a classic group."""

    def told(refusals: Mapping[ClassicState, type[StreamlogError]], state: ClassicState) -> str:
        refusal = refusals.get(state)
        return "all is well" if refusal is None else f"`{refusal.__name__}`"

    lines = ["| state | heartbeat | commit |", "|---|---|---|"]
    lines += [
        f"| `{state.value}` | {told(HEARTBEAT_REFUSALS, state)} | {told(COMMIT_REFUSALS, state)} |"
        for state in ClassicState
    ]
    return "\n".join([*lines, ""])


def text() -> str:
    """Return the whole document."""
    return "\n".join(
        [
            INTRODUCTION,
            CLASSIC,
            drawing(ClassicState.EMPTY, TRANSITIONS, ClassicState.DEAD),
            ANSWERS,
            answers(),
            MEMBERS,
            drawing(MemberState.STABLE, MEMBER_TRANSITIONS),
            GROUPS,
        ]
    )


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
