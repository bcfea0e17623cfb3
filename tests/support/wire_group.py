"""Members of classic groups that join over the wire, step by step."""

from __future__ import annotations

from typing import Any

from tests.support.wire import RawClient

NO_ERROR = 0
MEMBER_ID_REQUIRED = 79
SESSION_MS = 10_000


class WireMember:
    """A member on a connection of its own. Its metadata is ``metadata``, and it assigns everybody their own id."""

    def __init__(
        self,
        client: RawClient,
        group: str = "g",
        *,
        instance_id: str | None = None,
        version: int = 7,
        protocol_type: str = "consumer",
        protocols: tuple[tuple[str, bytes], ...] = (("range", b"\x00\x01told"),),
    ) -> None:
        self.client = client
        self.group = group
        self.instance_id = instance_id
        self.version = version
        self.protocol_type = protocol_type
        self.protocols = protocols
        self.id = ""
        self.generation = -1
        self.joined: Any = None
        self.share: bytes | None = None
        """What it assigns to each member as the leader; None for their own ids."""

    def send_join(self) -> None:
        """Ask to join, and wait for no answer."""
        self.client.send(
            "JoinGroup",
            self.version,
            group_id=self.group,
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=60_000,
            member_id=self.id,
            group_instance_id=self.instance_id,
            protocol_type=self.protocol_type,
            protocols=[{"name": name, "metadata": data} for name, data in self.protocols],
        )

    def receive_join(self) -> Any:
        """Return the answer, and remember it."""
        self.joined = joined = self.client.receive()
        if joined.error_code in (NO_ERROR, MEMBER_ID_REQUIRED):
            self.id = joined.member_id
        if joined.error_code == NO_ERROR:
            self.generation = joined.generation_id
        return joined

    def try_join(self) -> Any:
        """Join, and return the answer."""
        self.send_join()
        return self.receive_join()

    def get_id(self) -> None:
        """Have an id made, as a dynamic member needs it first."""
        assert self.try_join().error_code == MEMBER_ID_REQUIRED

    def join(self) -> Any:
        """Join a group that waits for nobody else."""
        if self.try_join().error_code == MEMBER_ID_REQUIRED:
            self.try_join()
        assert self.joined.error_code == NO_ERROR
        return self.joined

    @property
    def leads(self) -> bool:
        return bool(self.joined.leader == self.id)

    def send_sync(self) -> None:
        """Ask for the assignment; a leader gives everybody its own id."""
        shares = []
        if self.leads:
            shares = [
                {"member_id": one.member_id, "assignment": self._share_of(one.member_id)}
                for one in self.joined.members
            ]
        self.client.send(
            "SyncGroup",
            5,
            group_id=self.group,
            generation_id=self.generation,
            member_id=self.id,
            group_instance_id=self.instance_id,
            protocol_type=self.protocol_type,
            protocol_name=self.joined.protocol_name,
            assignments=shares,
        )

    def _share_of(self, member_id: str) -> bytes:
        return member_id.encode() if self.share is None else self.share

    def sync(self) -> Any:
        """Fetch the assignment."""
        self.send_sync()
        return self.client.receive()

    def heartbeat(self) -> int:
        """Return the error of a heartbeat."""
        response = self.client.request(
            "Heartbeat",
            4,
            group_id=self.group,
            generation_id=self.generation,
            member_id=self.id,
            group_instance_id=self.instance_id,
        )
        return int(response.error_code)
