"""One member of a classic group, as the coordinator keeps it."""

from __future__ import annotations

import attrs

from streamlog.broker.classic.requests import JoinRequest, JoinResponse, Reply, SyncResponse
from streamlog.broker.member_session import MemberSession


@attrs.define
class ClassicMember:
    """Source: Kafka ``ClassicGroupMember``. Threads: whoever holds the coordinator's lock."""

    member_id: str
    instance_id: str | None
    client_id: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]
    session: MemberSession
    protocol_names: frozenset[str]
    """The names in ``protocols``; an object that remembers its hash, unlike the tuple."""
    client_host: str = ""
    initial_delay_ms: int = 0
    assignment: bytes = b""
    is_away: bool = False
    """Whether it is a static member that closed, and whose place is kept."""
    generation: int | None = None
    """The one it knows, where that is not the group's: it came from the other protocol, and was behind. Until the
    next one begins."""
    joining: Reply[JoinResponse] | None = None
    """The answer to its join, while it waits for the others."""
    syncing: Reply[SyncResponse] | None = None
    """The answer to its sync, while it waits for the leader."""

    @classmethod
    def of(cls, member_id: str, request: JoinRequest) -> ClassicMember:
        """Return the member that *request* makes."""
        return cls(
            member_id,
            request.instance_id,
            request.client_id,
            request.session_timeout_ms,
            request.rebalance_timeout_ms,
            request.protocols,
            request.session,
            _names(request),
            request.client_host,
            request.initial_delay_ms,
        )

    @property
    def is_static(self) -> bool:
        """Whether it has an instance id, and hence stays when it does not answer (KIP-345)."""
        return self.instance_id is not None

    def metadata(self, protocol: str) -> bytes:
        """Return its subscription for *protocol*, which it supports."""
        return dict(self.protocols)[protocol]

    def vote(self, candidates: frozenset[str]) -> str:
        """Return its first choice among *candidates*, which all members support (GRP-5)."""
        return next(name for name, _ in self.protocols if name in candidates)

    def update(self, request: JoinRequest) -> None:
        """Take over what a new join says."""
        self.client_id, self.client_host = request.client_id, request.client_host
        self.session_timeout_ms = request.session_timeout_ms
        self.rebalance_timeout_ms = request.rebalance_timeout_ms
        self.protocols = request.protocols
        self.protocol_names = _names(request)
        self.session = request.session
        self.is_away = False


def _names(request: JoinRequest) -> frozenset[str]:
    return frozenset(name for name, _ in request.protocols)
