"""`streamlog groups`: Kafka's ``kafka-consumer-groups`` (CLI-3), but for resetting offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamlog.broker.group import GroupState
from streamlog.cli.arguments import group_option, names, partitions_option
from streamlog.cli.command import Group
from streamlog.cli.failures import IN_USE, Failure
from streamlog.cli.output import emit, note
from streamlog.cli.records import partitions_of
from streamlog.cli.reset_offsets import reset_offsets
from streamlog.cli.session import Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.broker.group_description import ConsumerGroupDescription, ConsumerGroupListing
    from streamlog.client.admin import Admin
    from streamlog.structs import TopicPartition

_TYPES = ("consumer", "classic", "simple")
_LIVE = (
    "the directory is open in another process, or was not closed; members and states are known to that "
    "process alone, but for groups that it stored as empty"
)
_ALL_GROUPS = click.option("--all-groups", is_flag=True, help="Every group there is.")


@click.group("groups", cls=Group)
def groups() -> None:
    """List, describe and delete groups, and change their offsets.

    Examples:
      streamlog groups list
      streamlog groups describe --group billing
    """


def _states(text: str) -> list[GroupState]:
    """Return the states of ``Stable,Empty``, as Kafka or as streamlog spells them."""
    by_name = {state.value.replace("_", ""): state for state in GroupState}
    try:
        return [by_name[name.replace("_", "").lower()] for name in names(text)]
    except KeyError:
        known = ", ".join(state.value for state in GroupState)
        raise click.BadParameter(f"expected some of {known}, found {text!r}") from None


def _types(text: str) -> list[str]:
    found = [name.lower() for name in names(text)]
    if not set(found) <= set(_TYPES):
        raise click.BadParameter(f"expected some of {', '.join(_TYPES)}, found {text!r}")
    return found


def _is_unknown(group: ConsumerGroupDescription | ConsumerGroupListing) -> bool:
    return group.state is GroupState.UNKNOWN


def type_of(group: ConsumerGroupDescription) -> str:
    """Return ``consumer`` or ``classic``, the protocol of its members; ``simple`` when nobody ever joined."""
    return "simple" if group.is_simple else group.protocol


@groups.command("list")
@click.option("--state", type=_states, metavar="STATE,...", help="Only groups in these states.")
@click.option(
    "--type",
    "types",
    type=_types,
    metavar="TYPE,...",
    help="Only consumer, classic or simple ones.",
)
@pass_session
def list_(session: Session, state: list[GroupState] | None, types: list[str] | None) -> None:
    """List the groups with type and state. A simple group only ever committed offsets.

    Examples:
      streamlog groups list
      streamlog groups list --state stable,empty --type consumer
    """
    with session.open_admin(read_only=True) as admin:
        listed = admin.list_consumer_groups()
        has_unknown = any(_is_unknown(group) for group in listed)
        if has_unknown and state is not None:
            raise Failure(f"--state: {_LIVE}", exit_code=IN_USE)
        found = admin.describe_consumer_groups(
            [group.group_id for group in listed if state is None or group.state in state]
        )
    rows = [
        {
            "group": group.group_id,
            "type": type_of(group),
            "state": None if _is_unknown(group) else group.state,
            "members": None if _is_unknown(group) else len(group.members),
        }
        for group in found.values()
        if types is None or type_of(group) in types
    ]
    emit(session, rows)
    if has_unknown:
        note(f"Note: {_LIVE}.")


@groups.command("describe")
@group_option("A group; several times for several.", multiple=True)
@_ALL_GROUPS
@click.option(
    "--offsets", "view", flag_value="offsets", default=True, help="How far it is; default."
)
@click.option("--members", "view", flag_value="members", help="Who is in it.")
@click.option("--state", "view", flag_value="state", help="One line for the group as a whole.")
@click.option("--verbose", is_flag=True, help="With --members: which partitions each one has.")
@pass_session
def describe(
    session: Session, group: tuple[str, ...], all_groups: bool, view: str, verbose: bool
) -> None:
    """Show how far groups are, who is in them, or their state.

    Examples:
      streamlog groups describe --group billing
      streamlog groups describe --all-groups --state
      streamlog groups describe --group billing --members --verbose --json
    """
    with session.open_admin(read_only=True) as admin:
        found = admin.describe_consumer_groups(chosen_groups(admin, group, all_groups))
    has_unknown = any(_is_unknown(one) for one in found.values())
    if view == "members" and has_unknown:
        raise Failure(f"--members: {_LIVE}", exit_code=IN_USE)
    if view == "members":
        rows = [row for one in found.values() for row in _member_rows(one)]
        columns = ["group", "consumer_id", "instance_id", "host", "client_id", "partitions"]
        columns += ["assignment"] if verbose else []
    elif view == "state":
        rows = [_state_row(one) for one in found.values()]
        columns = ["group", "coordinator", "assignment_strategy", "state", "members"]
    else:
        rows = [row for one in found.values() for row in _offset_rows(one)]
        columns = list(rows[0]) if rows else []
    emit(session, rows, columns)
    for one in found.values():
        if not one.members and view == "members":
            note(f"Group {one.group_id} has no members.")
    if has_unknown:
        note(f"Note: {_LIVE}.")


@groups.command("delete")
@group_option("A group without members; several times for several.", multiple=True)
@_ALL_GROUPS
@pass_session
def delete(session: Session, group: tuple[str, ...], all_groups: bool) -> None:
    """Delete groups and all they committed.

    Examples:
      streamlog groups delete --group billing
    """
    with session.open_admin() as admin:
        chosen = chosen_groups(admin, group, all_groups)
        before = _ids(admin)
        try:
            admin.delete_consumer_groups(chosen)
        finally:  # what is wrong with one does not keep the others
            gone = before - _ids(admin)
            for name in chosen:
                if name in gone:
                    note(f"Deleted group {name}.")
    if session.json:
        emit(session, [{"group": name} for name in chosen])


@groups.command("delete-offsets")
@group_option("The group.", required=True)
@partitions_option("A topic, or some of its partitions; several times for several.", required=True)
@pass_session
def delete_offsets(
    session: Session, group: str, topic: tuple[list[TopicPartition | str], ...]
) -> None:
    """Forget what a group committed of some partitions, all of them or none.

    Examples:
      streamlog groups delete-offsets --group billing --topic orders
      streamlog groups delete-offsets --group billing --topic orders:0,2
    """
    with session.open_admin() as admin:
        chosen = partitions_of(admin, [one for several in topic for one in several])
        before = admin.list_consumer_group_offsets(group)
        admin.delete_consumer_group_offsets(group, chosen)
    rows: list[Mapping[str, object]] = []
    for tp in chosen:
        committed = before.get(tp)
        rows.append(
            {
                "group": group,
                "topic": tp.topic,
                "partition": tp.partition,
                "deleted_offset": None if committed is None else committed.offset,
            }
        )
    emit(session, rows)


groups.add_command(reset_offsets)


def chosen_groups(admin: Admin, group: tuple[str, ...], all_groups: bool) -> list[str]:
    """Return the ids of `--group`, or all; click.UsageError unless exactly one of the two was given."""
    if bool(group) == all_groups:
        raise click.UsageError("expected --group or --all-groups, one of them")
    if all_groups:
        return sorted(_ids(admin))
    return list(dict.fromkeys(group))


def _ids(admin: Admin) -> set[str]:
    return {one.group_id for one in admin.list_consumer_groups()}


def _offset_rows(group: ConsumerGroupDescription) -> list[Mapping[str, object]]:
    clients = {member.member_id: member.client_id for member in group.members}
    return [
        {
            "group": group.group_id,
            "topic": one.topic_partition.topic,
            "partition": one.topic_partition.partition,
            "current_offset": one.committed_offset,
            "log_end_offset": one.log_end_offset,
            "lag": one.lag,
            "consumer_id": one.member_id,
            "host": None,  # members are threads of one process: there is no address
            "client_id": clients.get(one.member_id or ""),
        }
        for one in group.offsets
    ]


def _member_rows(group: ConsumerGroupDescription) -> list[Mapping[str, object]]:
    return [
        {
            "group": group.group_id,
            "consumer_id": member.member_id,
            "instance_id": member.group_instance_id,
            "host": None,
            "client_id": member.client_id,
            "epoch": member.epoch,
            "state": member.state,
            "topics": member.topics,
            "partitions": len(member.assignment),
            "assignment": [str(tp) for tp in member.assignment],
            "target_assignment": [str(tp) for tp in member.target_assignment],
        }
        for member in group.members
    ]


def _state_row(group: ConsumerGroupDescription) -> Mapping[str, object]:
    is_unknown = _is_unknown(group)
    return {
        "group": group.group_id,
        "coordinator": 1,
        "assignment_strategy": group.assignor,
        "state": None if is_unknown else group.state,
        "type": type_of(group),
        "epoch": group.epoch,
        "members": None if is_unknown else len(group.members),
        "lag": group.lag,
    }
