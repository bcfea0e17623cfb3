"""One request on its way to its handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.wire.encoded_batches import EncodedBatches
    from streamlog.wire.messages import Api
    from streamlog.wire.request_memory import ResponseMemory
    from streamlog.wire.settings import ListenerSettings
    from streamlog.wire.topics import TopicIds


class Call(NamedTuple):
    """What a handler gets. It returns a response, None where no answer is expected, or a `Parked` one."""

    api: Api
    version: int
    request: Any
    """Made by ``api.request``."""
    client_id: str
    """As the client calls itself; empty when it does not."""
    client_host: str
    """Where it called from, with a slash in front, as Kafka shows it."""
    broker: Broker
    settings: ListenerSettings
    encoded_batches: EncodedBatches
    """Of the listener."""
    topic_ids: TopicIds
    """Of the listener."""
    response_memory: ResponseMemory
    """Of the listener: what is left for answers."""

    @property
    def response(self) -> Any:
        """The class of the response, with those of the structs inside."""
        return self.api.response.make
