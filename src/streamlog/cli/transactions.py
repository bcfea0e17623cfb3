"""`streamlog transactions`: Kafka's ``kafka-transactions`` (KIP-664)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamlog.broker.transactions.state import TransactionState
from streamlog.cli.arguments import names, topic_option
from streamlog.cli.command import Group
from streamlog.cli.failures import NOT_FOUND, Failure
from streamlog.cli.output import emit, emit_object, note
from streamlog.cli.records import partitions_of
from streamlog.cli.session import Session, pass_session
from streamlog.cli.times import format_time
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.admin import Admin
    from streamlog.structs import ProducerStateInfo

_PARTITION = click.option(
    "--partition", type=click.IntRange(min=0), metavar="N", required=True, help="Its number."
)
_ID = click.option(
    "--transactional-id",
    metavar="ID",
    required=True,
    help="The id that the producer was made with.",
)


@click.group("transactions", cls=Group)
def transactions() -> None:
    """List, describe and end transactions.

    Examples:
      streamlog transactions list
    """


def _states(text: str) -> list[TransactionState]:
    by_name = {state.value.replace("_", ""): state for state in TransactionState}
    try:
        return [by_name[name.replace("_", "").lower()] for name in names(text)]
    except KeyError:
        known = ", ".join(state.value for state in TransactionState)
        raise click.BadParameter(f"expected some of {known}, found {text!r}") from None


@transactions.command("list")
@click.option("--state", type=_states, metavar="STATE,...", help="Only ids in these states.")
@click.option(
    "--producer-id", type=int, multiple=True, metavar="ID", help="Only this producer's; may repeat."
)
@pass_session
def list_(
    session: Session, state: list[TransactionState] | None, producer_id: tuple[int, ...]
) -> None:
    """List the transactional ids with the state of their last transaction.

    Examples:
      streamlog transactions list
      streamlog transactions list --state ongoing
    """
    with session.open_admin(read_only=True) as admin:
        listed = admin.list_transactions(states=state, producer_ids=producer_id or None)
    rows = [
        {
            "transactional_id": one.transactional_id,
            "producer_id": one.producer_id,
            "transaction_state": one.state,
        }
        for one in listed
    ]
    emit(session, rows)


@transactions.command("describe")
@_ID
@pass_session
def describe(session: Session, transactional_id: str) -> None:
    """Show a transactional id: its producer, its state, and where an open transaction wrote.

    Examples:
      streamlog transactions describe --transactional-id billing-1
    """
    with session.open_admin(read_only=True) as admin:
        found = admin.describe_transactions([transactional_id])[transactional_id]
    emit_object(
        session,
        {
            "transactional_id": found.transactional_id,
            "producer_id": found.producer_id,
            "producer_epoch": found.producer_epoch,
            "transaction_state": found.state,
            "transaction_timeout_ms": found.transaction_timeout_ms,
            "topic_partitions": [str(tp) for tp in found.topic_partitions],
        },
    )


@transactions.command("describe-producers")
@topic_option("The topic.", required=True)
@_PARTITION
@pass_session
def describe_producers(session: Session, topic: str, partition: int) -> None:
    """Show what a partition knows of its idempotent producers, and which have a transaction open there.

    Examples:
      streamlog transactions describe-producers --topic orders --partition 0
    """
    with session.open_admin(read_only=True) as admin:
        rows = [_producer_row(state) for state in _producers(admin, topic, partition)]
    emit(session, rows)


@transactions.command("find-hanging")
@topic_option("Only this topic; several times for several, all when left out.", multiple=True)
@pass_session
def find_hanging(session: Session, topic: tuple[str, ...]) -> None:
    """Find transactions that hang: open in a partition, by a producer whose transactional id nobody knows.

    They keep readers with read_committed from all that came later; `transactions abort` ends them.

    Examples:
      streamlog transactions find-hanging
    """
    with session.open_admin(read_only=True) as admin:
        partitions = partitions_of(admin, list(topic or admin.list_topics(include_internal=True)))
        known = {one.producer_id for one in admin.list_transactions()}
        rows = [
            {"topic": tp.topic, "partition": tp.partition, **_producer_row(state)}
            for tp, states in admin.describe_producers(partitions).items()
            for state in states
            if state.current_transaction_start_offset is not None
            if state.producer_id not in known
        ]
    emit(session, rows)
    if not rows:
        note("No transaction hangs.")


@transactions.command("abort")
@topic_option("The topic.", required=True)
@_PARTITION
@click.option(
    "--start-offset", type=click.IntRange(min=0), metavar="OFFSET", help="Where it begins; or:"
)
@click.option("--producer-id", type=int, metavar="ID", help="Whose it is, with --producer-epoch.")
@click.option("--producer-epoch", type=int, metavar="N", help="And in which epoch.")
@pass_session
def abort(
    session: Session,
    topic: str,
    partition: int,
    start_offset: int | None,
    producer_id: int | None,
    producer_epoch: int | None,
) -> None:
    """Abort a transaction that hangs in a partition, see `find-hanging`.

    Examples:
      streamlog transactions abort --topic orders --partition 0 --start-offset 4711
    """
    has_producer = producer_id is not None and producer_epoch is not None
    if (producer_id is None) != (producer_epoch is None) or has_producer == (
        start_offset is not None
    ):
        raise click.UsageError(
            "expected --start-offset, or --producer-id with --producer-epoch; one of these"
        )
    with session.open_admin() as admin:
        if start_offset is not None:
            producer_id, producer_epoch = _producer_at(admin, topic, partition, start_offset)
        assert producer_id is not None and producer_epoch is not None
        admin.abort_transaction(TopicPartition(topic, partition), producer_id, producer_epoch)
    note(f"Aborted the transaction of producer {producer_id} in {topic}-{partition}.")
    if session.json:
        aborted = {"producer_id": producer_id, "producer_epoch": producer_epoch}
        emit_object(session, {"topic": topic, "partition": partition, **aborted})


@transactions.command("force-terminate")
@_ID
@pass_session
def force_terminate(session: Session, transactional_id: str) -> None:
    """Abort the open transaction of an id and fence its producer; nothing happens without one.

    Examples:
      streamlog transactions force-terminate --transactional-id billing-1
    """
    with session.open_admin() as admin:
        admin.force_terminate_transaction(transactional_id)
        state = admin.describe_transactions([transactional_id])[transactional_id].state
    if session.json:
        emit_object(session, {"transactional_id": transactional_id, "transaction_state": state})
    note(f"No transaction of {transactional_id} is open.")


def _producers(admin: Admin, topic: str, partition: int) -> list[ProducerStateInfo]:
    (states,) = admin.describe_producers([TopicPartition(topic, partition)]).values()
    return states


def _producer_row(state: ProducerStateInfo) -> Mapping[str, object]:
    return {
        "producer_id": state.producer_id,
        "producer_epoch": state.producer_epoch,
        "last_sequence": state.last_sequence,
        "last_timestamp": format_time(state.last_timestamp_ms),
        "coordinator_epoch": state.coordinator_epoch,
        "current_transaction_start_offset": state.current_transaction_start_offset,
    }


def _producer_at(admin: Admin, topic: str, partition: int, start_offset: int) -> tuple[int, int]:
    for state in _producers(admin, topic, partition):
        if state.current_transaction_start_offset == start_offset:
            return state.producer_id, state.producer_epoch
    raise Failure(
        f"{topic}-{partition}: no transaction that begins at offset {start_offset} is open",
        hint="`streamlog transactions describe-producers` shows where open ones begin",
        exit_code=NOT_FOUND,
    )
