"""`streamlog configs`: Kafka's ``kafka-configs`` for topics, and the broker's for reading."""

from __future__ import annotations

import click

from streamlog.broker.config_entry import (
    AlterConfigOp,
    ConfigResource,
    ConfigResourceType,
    ConfigSource,
    OpType,
)
from streamlog.cli.arguments import config_pairs, names, topic_option
from streamlog.cli.command import Group
from streamlog.cli.output import emit, note
from streamlog.cli.session import Session, pass_session
from streamlog.client.admin import Admin

_ENTITY_TYPE = click.option(
    "--entity-type",
    type=click.Choice(["topics", "brokers"]),
    help="What kind of thing is meant, in Kafka's way; with --entity-name.",
)
_ENTITY_NAME = click.option(
    "--entity-name", metavar="NAME", help="Its name; all of the kind when left out."
)


@click.group("configs", cls=Group)
def configs() -> None:
    """Describe and alter settings.

    Examples:
      streamlog configs describe --topic orders --all
      streamlog configs alter --topic orders --add-config retention.ms=86400000
    """


@configs.command("describe")
@topic_option("A topic; several times for several.", multiple=True)
@click.option("--broker", is_flag=True, help="The broker, as this program opens it.")
@_ENTITY_TYPE
@_ENTITY_NAME
@click.option("--all", "everything", is_flag=True, help="Show defaults too.")
@pass_session
def describe(
    session: Session,
    topic: tuple[str, ...],
    broker: bool,
    entity_type: str | None,
    entity_name: str | None,
    everything: bool,
) -> None:
    """Show the settings that are a topic's own, with `--all` every one that is in force.

    SOURCE says where a value comes from: the topic, the broker, or streamlog's default. A program that
    opens the directory with settings of its own (`log_retention_ms`) may have other values from the broker.

    Examples:
      streamlog configs describe --topic orders
      streamlog configs describe --entity-type topics --entity-name orders --all
      streamlog configs describe --broker --all
    """
    with session.open_broker(read_only=True) as opened, Admin(opened) as admin:
        number = str(opened.config.broker_id)
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topic]
        if broker:
            wanted.append(ConfigResource(ConfigResourceType.BROKER, number))
        wanted += _entities(admin, entity_type, entity_name, number)
        if not wanted:
            raise click.UsageError("expected --topic, --broker or --entity-type, found none")
        rows = [
            {
                "entity_type": resource.type,
                "entity_name": resource.name,
                "name": key.replace("_", "."),
                "value": entry.value,
                "source": entry.source,
            }
            for resource, entries in admin.describe_configs(wanted).items()
            for key, entry in entries.items()
            if everything or entry.source is not ConfigSource.DEFAULT_CONFIG
        ]
    emit(session, rows)


@configs.command("alter")
@topic_option("The topic; several times for several.", multiple=True)
@_ENTITY_TYPE
@_ENTITY_NAME
@click.option(
    "--add-config",
    type=config_pairs,
    metavar="KEY=VALUE,...",
    help="Settings to make; a list is in brackets: cleanup.policy=[compact,delete].",
)
@click.option(
    "--delete-config",
    type=names,
    metavar="KEY,...",
    help="Settings to give back to the broker's default.",
)
@pass_session
def alter(
    session: Session,
    topic: tuple[str, ...],
    entity_type: str | None,
    entity_name: str | None,
    add_config: dict[str, str] | None,
    delete_config: list[str] | None,
) -> None:
    """Change a topic's settings; in force at once, all of them or none.

    Examples:
      streamlog configs alter --topic orders --add-config retention.ms=3600000,segment.bytes=1048576
      streamlog configs alter --topic orders --delete-config retention.ms
    """
    changes = [AlterConfigOp(key, value) for key, value in (add_config or {}).items()]
    changes += [AlterConfigOp(key, op=OpType.DELETE) for key in delete_config or ()]
    if not changes:
        raise click.UsageError("expected --add-config or --delete-config, found none")
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topic]
    if entity_type is not None and entity_name is None:
        raise click.UsageError("expected --entity-name with --entity-type, found none")
    with session.open_broker() as broker, Admin(broker) as admin:
        wanted += _entities(admin, entity_type, entity_name, str(broker.config.broker_id))
        if not wanted:
            raise click.UsageError("expected --topic or --entity-type, found none")
        admin.incremental_alter_configs(dict.fromkeys(wanted, changes))
    for resource in wanted:
        note(f"Changed {resource}.")
    if session.json:
        emit(session, [{"entity_type": one.type, "entity_name": one.name} for one in wanted])


def _entities(
    admin: Admin, entity_type: str | None, entity_name: str | None, broker: str
) -> list[ConfigResource]:
    """Return what Kafka's pair of options means."""
    if entity_type is None:
        if entity_name is not None:
            raise click.UsageError("expected --entity-type with --entity-name, found none")
        return []
    if entity_type == "brokers":
        return [ConfigResource(ConfigResourceType.BROKER, entity_name or broker)]
    chosen = admin.list_topics() if entity_name is None else [entity_name]
    return [ConfigResource(ConfigResourceType.TOPIC, name) for name in chosen]
