"""A message that can be read and written in each of its versions."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from streamlog.wire.codec.decoder import write_decoder
from streamlog.wire.codec.encoder import write_encoder
from streamlog.wire.codec.errors import MalformedMessageError, TooManyElementsError
from streamlog.wire.codec.primitives import MAX_ELEMENTS
from streamlog.wire.codec.schema import Schema
from streamlog.wire.codec.struct_types import struct_type


class MessageType:
    """Reads and writes one message. What does it is compiled for a version when that is first asked for.

    ``make`` is the class of the message, and has those of the structs inside as attributes. Threads: any. Source: Kafka's generated
    message classes.
    """

    make: Any
    """See above. Made when it is first asked for: all of them together take a third of the time in which a listener is there."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        # Asked for twice a request.
        self._first_flexible, self._last_flexible = schema.flexible
        self._decoders: dict[int, Callable[[bytes, int, int], tuple[Any, int]]] = {}
        self._encoders: dict[int, Callable[[Any, bytearray], list[Any]]] = {}

    def __repr__(self) -> str:
        return f"<MessageType {self.schema.name} {self.schema.versions}>"

    def __getattr__(self, name: str) -> Any:
        if name != "make":
            raise AttributeError(name, name=name, obj=self)
        made = struct_type(self.schema.name, self.schema.fields)
        # Two threads that come at once get the same one.
        return self.__dict__.setdefault(name, made)

    def is_flexible(self, version: int) -> bool:
        """Return whether *version* has compact lengths and tagged fields (KIP-482)."""
        return self._first_flexible <= version <= self._last_flexible

    def decode(
        self, data: bytes, version: int, position: int = 0, max_elements: int = MAX_ELEMENTS
    ) -> Any:
        """Return the message that *data* holds from *position* on. What is behind it is ignored, as Kafka does: librdkafka 2.16 sends three
        bytes too many when it asks for all topics.

        Raises `MalformedMessageError`, whatever the bytes are; what that takes in memory is bounded by a multiple of their number. Of more
        than *max_elements* in all arrays together, and tagged fields, that is a `TooManyElementsError`.
        """
        decoder = self._decoders.get(version)
        if decoder is None:
            decoder = self._decoders[version] = self._decoder(version)
        try:
            message, _ = decoder(data, position, max_elements)
        except TooManyElementsError:
            raise TooManyElementsError(
                f"{self.schema.name} v{version}: more than {max_elements} array elements"
            ) from None
        except MalformedMessageError as error:
            raise MalformedMessageError(f"{self.schema.name} v{version}: {error}") from None
        except (IndexError, struct.error, UnicodeDecodeError) as error:
            raise MalformedMessageError(f"{self.schema.name} v{version}: {error}") from error
        return message

    def encode(self, message: Any, version: int, head: bytes = b"") -> list[Any]:
        """Return *head* and the bytes of *message* behind it, in parts: records are the very objects that the message has.

        A field that *version* lacks is left out. Raises TypeError or ``struct.error`` for values that the field cannot hold.
        """
        encoder = self._encoders.get(version)
        if encoder is None:
            encoder = self._encoders[version] = self._encoder(version)
        return encoder(message, bytearray(head))

    def _decoder(self, version: int) -> Callable[[bytes, int, int], tuple[Any, int]]:
        self._require(version)
        schema = self.schema
        source = write_decoder(self.make, schema.fields, version, self.is_flexible(version))
        return source.compile("decode", f"{schema.name} v{version}")

    def _encoder(self, version: int) -> Callable[[Any, bytearray], list[Any]]:
        self._require(version)
        source = write_encoder(self.schema.fields, version, self.is_flexible(version))
        return source.compile("encode", f"{self.schema.name} v{version}")

    def _require(self, version: int) -> None:
        if version not in self.schema.versions:
            raise ValueError(
                f"{self.schema.name}: expected version {self.schema.versions}, found {version}"
            )
