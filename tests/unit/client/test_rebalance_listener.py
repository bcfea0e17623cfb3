from __future__ import annotations

from typing import Any

import pytest

from streamlog.client.rebalance_listener import RebalanceListener, as_listener
from tests.support.consuming import T0


def test_base_class_does_nothing_and_takes_a_loss_for_a_revocation() -> None:
    told: list[Any] = []

    class Listener(RebalanceListener):
        def on_partitions_revoked(self, partitions: Any) -> None:
            told.append(partitions)

    listener = Listener()
    listener.on_partitions_assigned([T0])
    listener.on_partitions_lost([T0])
    assert told == [[T0]]


def test_listener_itself_and_none_are_passed_through() -> None:
    listener = RebalanceListener()
    assert as_listener(listener) is listener
    assert as_listener(None) is None


def test_any_object_with_one_of_the_methods_will_do() -> None:
    told: list[Any] = []

    class Duck:
        def on_partitions_assigned(self, partitions: Any) -> None:
            told.append(partitions)

    listener = as_listener(Duck())
    assert listener is not None
    listener.on_partitions_assigned([T0])
    listener.on_partitions_revoked([T0])
    listener.on_partitions_lost([T0])
    assert told == [[T0]]


def test_object_without_any_of_the_methods_is_refused() -> None:
    for nothing in (object(), print, "listener"):
        with pytest.raises(TypeError, match="on_partitions_assigned"):
            as_listener(nothing)


@pytest.mark.parametrize("base", [object, RebalanceListener])
def test_class_in_place_of_a_listener_is_refused_before_its_methods_lack_a_self(base: type) -> None:
    class Listener(base):  # type: ignore[misc]
        def on_partitions_assigned(self, partitions: Any) -> None:
            raise AssertionError(partitions)

    with pytest.raises(TypeError, match="give an object, not the class Listener"):
        as_listener(Listener)


@pytest.mark.parametrize("base", [object, RebalanceListener])
def test_coroutine_function_that_nobody_would_await_is_refused(base: type) -> None:
    class Listener(base):  # type: ignore[misc]
        async def on_partitions_revoked(self, partitions: Any) -> None:
            raise AssertionError(partitions)

    with pytest.raises(TypeError, match=r"Listener\.on_partitions_revoked .* coroutine function"):
        as_listener(Listener())
