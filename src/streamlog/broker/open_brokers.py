"""The brokers open in this process, to be closed at its end if somebody forgot.

A service, not a promise: after ``kill -9``, ``os._exit`` or a crash nothing here runs, and the next
open recovers.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from streamlog.broker.broker_resources import close_orphans
from streamlog.runtime.exit import at_exit

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker

_logger = logging.getLogger("streamlog")

# Weak: being listed here keeps no broker alive. By id, in the order of opening.
_brokers: WeakValueDictionary[int, Broker] = WeakValueDictionary()


def add(broker: Broker) -> None:
    """Close *broker* at the end of the process, unless discarded or collected until then."""
    _brokers[id(broker)] = broker


def discard(broker: Broker) -> None:
    """Forget *broker*, which was closed."""
    _brokers.pop(id(broker), None)


def _close_all() -> None:
    """Close every open broker, latest first. In a forked child they are all out of use already."""
    for broker in reversed(list(_brokers.values())):
        try:
            broker.close()
        except Exception:
            _logger.exception("Could not close %r at the end of the process", broker)
    close_orphans()


at_exit(_close_all)
