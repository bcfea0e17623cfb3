from __future__ import annotations

from streamlog.client.assigned_partition import EARLIEST, AssignedPartition
from tests.support.consuming import T0


def test_new_partition_has_no_position_and_cannot_be_read() -> None:
    assigned = AssignedPartition(T0)
    assert (assigned.position, assigned.paused, assigned.is_fetchable) == (None, False, False)


def test_delivering_moves_the_position_to_what_was_taken() -> None:
    assigned = AssignedPartition(T0)
    assigned.move_to(5, leader_epoch=1)
    assigned.taken, assigned.taken_epoch = 9, 2
    assert assigned.position == 5
    assigned.deliver()
    assert (assigned.position, assigned.leader_epoch) == (9, 2)


def test_rewinding_takes_back_what_was_taken_and_not_delivered() -> None:
    assigned = AssignedPartition(T0)
    assigned.move_to(5, leader_epoch=1)
    version = assigned.version
    assigned.taken = assigned.read_ahead = 9
    assigned.rewind()
    assert (assigned.taken, assigned.taken_epoch, assigned.read_ahead) == (5, 1, 5)
    assert assigned.version > version


def test_dropping_the_buffer_keeps_what_was_taken() -> None:
    assigned = AssignedPartition(T0)
    assigned.move_to(5)
    assigned.taken, assigned.read_ahead = 7, 20
    assigned.drop_buffer()
    assert (assigned.position, assigned.taken, assigned.read_ahead) == (5, 7, 7)


def test_moving_cancels_a_reset_that_was_asked_for() -> None:
    assigned = AssignedPartition(T0)
    assigned.move_to(5)
    assigned.request_reset(EARLIEST)
    assert (assigned.position, assigned.requested_reset) == (None, EARLIEST)
    assigned.move_to(3)
    assert (assigned.position, assigned.requested_reset) == (3, None)
