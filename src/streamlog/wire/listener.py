"""A broker that Kafka's clients can connect to, served in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from streamlog.runtime import Signal
from streamlog.runtime.threads import Thread, spawn
from streamlog.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from streamlog.broker.broker import Broker
    from streamlog.wire.settings import ListenOptions

_log = logging.getLogger("streamlog")


class Listener:
    """Lets clients of any language use *broker* over Kafka's protocol. Made by `Broker.listen`, which says what its arguments mean.

    Serves in one thread of its own. Threads: any, for every method.
    """

    def __init__(
        self, broker: Broker, address: str = "127.0.0.1:0", **options: Unpack[ListenOptions]
    ) -> None:
        self._broker = broker
        self.endpoint = Endpoint(broker, address, **options)
        """What it serves. Internal."""
        self._has_begun = Signal()
        self._error: BaseException | None = None
        self._thread: Thread | None = None
        try:
            # All of it happens there: Ctrl-C can come out here only, between two steps of it in no case.
            self._thread = spawn("streamlog-listener", self._run)
            self._has_begun.wait()
            error, self._error = self._error, None
            if error is not None:
                raise error
            broker.register_listener(self)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Listener {self.bootstrap_servers}{', closed' if self.closed else ''}>"

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bootstrap_servers(self) -> str:
        """What clients are to be given, ``host:port``."""
        return self.endpoint.bootstrap_servers

    @property
    def closed(self) -> bool:
        """Whether it no longer listens."""
        return self.endpoint.is_ending

    def close(self) -> None:
        """End all connections, also those with a request under way, and stop listening. Closing again changes nothing, and after Ctrl-C
        does the rest.

        Returns when that is done, except to a thread that serves a request: to wait for itself it would wait for ever.
        """
        self.endpoint.ask_to_end()
        if self._thread is not None and not self.endpoint.is_inside():
            self._thread.join()
        self._broker.unregister_listener(self)  # only now: after Ctrl-C the broker closes it again

    def _run(self) -> None:
        try:
            asyncio.run(self.endpoint.serve(self._has_begun.set))
        except asyncio.CancelledError:
            pass  # it was asked to end
        except BaseException as error:  # noqa: BLE001 - raised where the listener was to be made
            if self._has_begun.is_set():
                _log.exception("%r ended", self)
            self._error = error
        finally:
            self._has_begun.set()
