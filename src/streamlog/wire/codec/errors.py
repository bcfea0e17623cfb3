"""What can be wrong with bytes from a network."""

from __future__ import annotations

from streamlog.errors import StreamlogError


class MalformedMessageError(StreamlogError, ValueError):
    """Bytes that are no message of their API and version. Nothing of them was used; the connection is of no more use."""


class RefusedRequestError(StreamlogError):
    """A request that cannot be answered: the connection is closed, which is all that its client can be told."""


class TooManyElementsError(MalformedMessageError):
    """A message of more array elements, and tagged fields, than its reader was prepared to make."""
