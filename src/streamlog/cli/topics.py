"""`streamlog topics`: Kafka's ``kafka-topics`` (CLI-2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamlog.broker.config_entry import ConfigSource
from streamlog.cli.arguments import config_pair, topic_option
from streamlog.cli.command import Group
from streamlog.cli.output import cell, emit, emit_object, note
from streamlog.cli.session import Session, pass_session
from streamlog.client.new_topic import NewTopic
from streamlog.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError

if TYPE_CHECKING:
    from streamlog.client.admin import Admin
    from streamlog.structs import TopicDescription

_INTERNAL = click.option(
    "--include-internal/--exclude-internal",
    help="Whether the broker's own topics are shown; they are not.",
)


@click.group("topics", cls=Group)
def topics() -> None:
    """Create, list, describe, alter and delete topics.

    Examples:
      streamlog topics create --topic orders --partitions 3
      streamlog topics list
    """


@topics.command("create")
@topic_option("The topic to create.", required=True)
@click.option("--partitions", type=int, metavar="N", help="How many; the broker's default is 1.")
@click.option("--replication-factor", type=int, metavar="N", help="Only 1: there is one broker.")
@click.option(
    "--config",
    "configs",
    multiple=True,
    type=config_pair,
    metavar="KEY=VALUE",
    help="A setting such as retention.ms=3600000; several times for several.",
)
@click.option("--if-not-exists", is_flag=True, help="Do nothing if the topic is there already.")
@pass_session
def create(
    session: Session,
    topic: str,
    partitions: int | None,
    replication_factor: int | None,
    configs: tuple[tuple[str, str], ...],
    if_not_exists: bool,
) -> None:
    """Create a topic; the data directory too, if it is not there yet.

    Examples:
      streamlog topics create --topic orders --partitions 3
      streamlog topics create --topic prices --config retention.ms=3600000 --if-not-exists
    """
    new = NewTopic(topic, partitions, replication_factor, dict(configs))
    with session.open_admin(create=True) as admin:
        try:
            admin.create_topics([new])
        except TopicAlreadyExistsError:
            if not if_not_exists:
                raise
            note(f"Topic {topic} is there already.")
        else:
            note(f"Created topic {topic}.")
        if session.json:
            emit_object(session, _as_object(admin, topic))


@topics.command("list")
@_INTERNAL
@pass_session
def list_(session: Session, include_internal: bool) -> None:
    """List the names of the topics.

    Examples:
      streamlog topics list
      streamlog topics list --include-internal --json
    """
    with session.open_admin(read_only=True) as admin:
        names = admin.list_topics(include_internal=include_internal)
        described = admin.describe_topics(names)
    rows = [
        {"topic": name, "partitions": len(topic.partitions), "is_internal": topic.is_internal}
        for name, topic in described.items()
    ]
    emit(session, rows, ["topic"])


@topics.command("describe")
@topic_option("A topic; several times for several, all when left out.", multiple=True)
@_INTERNAL
@pass_session
def describe(session: Session, topic: tuple[str, ...], include_internal: bool) -> None:
    """Show topics with their partitions, replicas and the settings that are their own.

    Examples:
      streamlog topics describe
      streamlog topics describe --topic orders --json
    """
    with session.open_admin(read_only=True) as admin:
        names = topic or admin.list_topics(include_internal=include_internal)
        described = [_as_object(admin, name) for name in dict.fromkeys(names)]
    if session.json:
        emit(session, described)
        return
    for one in described:
        _print_as_kafka(one)


@topics.command("alter")
@topic_option("The topic to change.", required=True)
@click.option(
    "--partitions", type=int, metavar="N", required=True, help="The new total, more than now."
)
@pass_session
def alter(session: Session, topic: str, partitions: int) -> None:
    """Give a topic more partitions. Settings are changed by `streamlog configs alter`.

    Records stay where they are; where a key goes changes for new ones.

    Examples:
      streamlog topics alter --topic orders --partitions 6
    """
    with session.open_admin() as admin:
        admin.create_partitions({topic: partitions})
        note(f"Topic {topic} has {partitions} partitions now.")
        if session.json:
            emit_object(session, _as_object(admin, topic))


@topics.command("delete")
@topic_option("The topic to delete; several times for several.", multiple=True, required=True)
@click.option("--if-exists", is_flag=True, help="Do nothing about a topic that is not there.")
@pass_session
def delete(session: Session, topic: tuple[str, ...], if_exists: bool) -> None:
    """Delete topics with all their records and committed offsets, for good.

    Examples:
      streamlog topics delete --topic orders
      streamlog topics delete --topic orders --topic prices --if-exists
    """
    deleted = []
    with session.open_admin() as admin:
        for name in dict.fromkeys(topic):
            try:
                admin.delete_topics([name])
            except UnknownTopicOrPartitionError:
                if not if_exists:
                    raise
                note(f"There is no topic {name}.")
            else:
                note(f"Deleted topic {name}.")
                deleted.append({"topic": name})
    if session.json:
        emit(session, deleted)


def _as_object(admin: Admin, name: str) -> dict[str, object]:
    topic: TopicDescription = admin.describe_topics([name])[name]
    (entries,) = admin.describe_configs([name]).values()
    return {
        "topic": name,
        "topic_id": topic.topic_id,
        "is_internal": topic.is_internal,
        "partition_count": len(topic.partitions),
        "replication_factor": len(topic.partitions[0].replicas),
        "configs": {
            key.replace("_", "."): entry.value
            for key, entry in entries.items()
            if entry.source is ConfigSource.DYNAMIC_TOPIC_CONFIG
        },
        "partitions": [
            {
                "partition": one.partition,
                "leader": one.leader,
                "replicas": one.replicas,
                "isr": one.in_sync_replicas,
                # Without a second replica nobody can be out of sync, and eligible all the same.
                "elr": [],
            }
            for one in topic.partitions
        ],
    }


def _print_as_kafka(topic: dict[str, object]) -> None:
    configs, partitions = topic["configs"], topic["partitions"]
    assert isinstance(configs, dict)
    assert isinstance(partitions, list)
    settings = ",".join(f"{key}={_setting(value)}" for key, value in configs.items())
    click.echo(
        f"Topic: {topic['topic']}\tTopicId: {topic['topic_id']}\t"
        f"PartitionCount: {topic['partition_count']}\t"
        f"ReplicationFactor: {topic['replication_factor']}\tConfigs: {settings}".rstrip()
    )
    for one in partitions:
        click.echo(
            f"\tTopic: {topic['topic']}\tPartition: {one['partition']}\t"
            f"Leader: {cell(one['leader'])}\tReplicas: {cell(one['replicas'])}\t"
            f"Isr: {cell(one['isr'])}\tElr: {cell(one['elr'])}"
        )


def _setting(value: object) -> str:
    """Return a setting as `--add-config` takes it."""
    if isinstance(value, (tuple, list)) and len(value) != 1:
        return f"[{','.join(str(one) for one in value)}]"
    return cell(value)
