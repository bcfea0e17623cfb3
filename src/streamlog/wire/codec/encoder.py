"""Writing the Python that writes one version of a message."""

from __future__ import annotations

import struct

from streamlog.wire.codec.primitives import varint
from streamlog.wire.codec.record_parts import RecordParts
from streamlog.wire.codec.schema import FIXED_FORMATS, NEVER, Field
from streamlog.wire.codec.source import Source


def write_encoder(fields: tuple[Field, ...], version: int, is_flexible: bool) -> Source:
    """Return the source of ``encode(message, head) -> parts``: *head* is a bytearray to go on from, and the parts are the
    message's bytes in order, in which records are what was given, uncopied; those in `RecordParts` one by one.
    """
    source = Source()
    source.globals.update(varint=varint, RecordParts=RecordParts)
    with source.block("def encode(message, out):"):
        source.add("parts = []")
        _Encoder(source, version, is_flexible).struct("message", fields)
        source.add("parts.append(out)", "return parts")
    return source


class _Encoder:
    def __init__(self, source: Source, version: int, is_flexible: bool) -> None:
        self._source = source
        self._version = version
        self._is_flexible = is_flexible

    def struct(self, of: str, fields: tuple[Field, ...]) -> None:
        """Write the writing of the struct in the variable *of*."""
        present = [field for field in fields if self._version in field.versions]
        run: list[Field] = []
        for field in present:
            if field.tag is not None and self._is_flexible:
                continue
            if field.kind in FIXED_FORMATS and not field.is_array:
                run.append(field)
                continue
            self._fixed(of, run)
            self._value(f"{of}.{field.name}", field)
        self._fixed(of, run)
        if self._is_flexible:
            tagged = [field for field in present if field.tag is not None]
            self._tagged(of, sorted(tagged, key=lambda field: field.tag or 0))

    def _fixed(self, of: str, run: list[Field]) -> None:
        if run:
            layout = struct.Struct(">" + "".join(FIXED_FORMATS[field.kind] for field in run))
            pack = self._source.constant(layout.pack)
            values = ", ".join(f"{of}.{field.name}" for field in run)
            self._source.add(f"out += {pack}({values})")
            run.clear()

    def _tagged(self, of: str, tagged: list[Field]) -> None:
        """Write the fields that go by number, of which those are left out that have their default (pitfall 5 of old clients)."""
        source = self._source
        if not tagged:
            source.add("out += b'\\0'")
            return
        count, outer = source.variable(), source.variable()
        tests = [self._is_set(f"{of}.{field.name}", field) for field in tagged]
        source.add(f"{count} = {' + '.join(tests)}", f"out += varint({count})")
        with source.block(f"if {count}:"):
            for field, test in zip(tagged, tests, strict=True):
                with source.block(f"if {test}:"):
                    source.add(f"{outer}, out = out, bytearray()")
                    self._any(f"{of}.{field.name}", field)
                    tag = source.constant(varint(field.tag or 0))
                    source.add(
                        f"{outer} += {tag} + varint(len(out))",
                        f"{outer} += out",
                        f"out = {outer}",
                    )

    def _is_set(self, value: str, field: Field) -> str:
        """Return the expression for whether *value* is not the default of *field*."""
        if field.default is None:
            return f"({value} is not None)"
        if field.is_array:
            return f"bool({value})"
        return f"({value} != {self._source.constant(field.default)})"

    def _any(self, value: str, field: Field) -> None:
        if field.kind in FIXED_FORMATS and not field.is_array:
            pack = self._source.constant(struct.Struct(">" + FIXED_FORMATS[field.kind]).pack)
            self._source.add(f"out += {pack}({value})")
        else:
            self._value(value, field)

    def _value(self, value: str, field: Field) -> None:
        if field.is_array:
            self._array(value, field)
        elif not field.kind:
            self._inner(value, field)
        else:
            self._sized(value, field)

    def _inner(self, value: str, field: Field) -> None:
        source, found = self._source, self._source.variable()
        source.add(f"{found} = {value}")
        if self._version in field.nullable and field.tag is None:
            with source.block(f"if {found} is None:"):
                source.add("out += b'\\xff'")
            with source.block("else:"):
                source.add("out += b'\\1'")
                self.struct(found, field.fields)
        else:
            self.struct(found, field.fields)

    def _length(self, field: Field, length: str, layout: str) -> None:
        if self._is_flexible and not field.is_inflexible:
            self._source.add(f"out += varint({length} + 1)")
        else:
            pack = self._source.constant(struct.Struct(layout).pack)
            self._source.add(f"out += {pack}({length})")

    def _null(self, field: Field, layout: str) -> None:
        size = struct.calcsize(layout)
        is_compact = self._is_flexible and not field.is_inflexible
        null = b"\0" if is_compact else b"\xff" * size
        self._source.add(f"out += {null!r}")

    def _sized(self, value: str, field: Field) -> None:
        source, found = self._source, self._source.variable()
        layout = ">h" if field.kind == "string" else ">i"
        source.add(f"{found} = {value}")
        with source.block(f"if {found} is None:"):
            if self._version in field.nullable or field.kind == "records":
                self._null(field, layout)
            else:
                source.add(f"raise TypeError({f'{field.name}: expected a value, found None'!r})")
        with source.block("else:"):
            if field.kind == "string":
                source.add(f"{found} = {found}.encode()")
            self._length(field, f"len({found})", layout)
            if field.kind == "records":
                source.add("parts.append(out)", "out = bytearray()")
                with source.block(f"if type({found}) is RecordParts:"):
                    source.add(f"parts += {found}.parts")
                with source.block("else:"):
                    source.add(f"parts.append({found})")
            else:
                source.add(f"out += {found}")

    def _array(self, value: str, field: Field) -> None:
        source, found, count = self._source, self._source.variable(), self._source.variable()
        source.add(f"{found} = {value}")
        with source.block(f"if {found} is None:"):
            if self._version in field.nullable:
                self._null(field, ">i")
            else:
                source.add(f"raise TypeError({f'{field.name}: expected a list, found None'!r})")
        with source.block("else:"):
            source.add(f"{count} = len({found})")
            self._length(field, count, ">i")
            letter = FIXED_FORMATS.get(field.kind)
            if letter is not None and letter != "16s":
                pack = source.constant(struct.pack)
                source.add(f"out += {pack}('>%d{letter}' % {count}, *{found})")
                return
            item = source.variable()
            with source.block(f"for {item} in {found}:"):
                if letter is not None:
                    source.add(f"out += {item}")
                elif field.kind:
                    self._sized(item, field._replace(is_array=False, nullable=NEVER))
                else:
                    self.struct(item, field.fields)
