"""Who gets which partition: functions from subscriptions to assignments, with no state and no clock.

The rules are those of the semantics' section on assignors: ASG-1 to ASG-7 and NGP-6.
"""

from streamlog.broker.assignors.cooperative_sticky import assign_cooperative_sticky
from streamlog.broker.assignors.member_subscription import (
    NO_GENERATION,
    MemberSubscription,
    assignment_order,
)
from streamlog.broker.assignors.range import assign_range
from streamlog.broker.assignors.round_robin import assign_round_robin
from streamlog.broker.assignors.sticky import assign_sticky
from streamlog.broker.assignors.uniform import assign_uniform

__all__ = [
    "NO_GENERATION",
    "MemberSubscription",
    "assign_cooperative_sticky",
    "assign_range",
    "assign_round_robin",
    "assign_sticky",
    "assign_uniform",
    "assignment_order",
]
