"""Writing the Python that reads one version of a message: straight down its fields, without looking at the schema again."""

from __future__ import annotations

import struct
from typing import Any

from streamlog.wire.codec import primitives
from streamlog.wire.codec.schema import FIXED_FORMATS, NEVER, Field
from streamlog.wire.codec.source import Source
from streamlog.wire.codec.struct_types import inner_type


def write_decoder(
    struct_class: Any, fields: tuple[Field, ...], version: int, is_flexible: bool
) -> Source:
    """Return the source of ``decode(data, position, budget) -> (message, position behind it)``; the budget is of array elements and of
    tagged fields together.
    """
    source = Source()
    source.globals.update(
        read_varint=primitives.read_varint,
        skip_tags=primitives.skip_tags,
        bad_length=primitives.bad_length,
        bad_tag=primitives.bad_tag,
        too_many=primitives.too_many,
        bad_string=primitives.bad_string,
        utf8="utf-8",
    )
    with source.block("def decode(data, position, budget):"):
        source.add("end = len(data)")
        result = _Decoder(source, version, is_flexible).struct(struct_class, fields)
        source.add(f"return {result}, position")
    return source


class _Decoder:
    def __init__(self, source: Source, version: int, is_flexible: bool) -> None:
        self._source = source
        self._version = version
        self._is_flexible = is_flexible

    def struct(self, struct_class: Any, fields: tuple[Field, ...]) -> str:
        """Write the reading of one struct; return the expression that makes it."""
        source = self._source
        present = [field for field in fields if self._version in field.versions]
        plain = [f for f in present if f.tag is None or not self._is_flexible]
        tagged = [f for f in present if f.tag is not None and self._is_flexible]
        names: dict[str, str] = {}
        run: list[Field] = []
        for field in plain:
            if field.kind in FIXED_FORMATS and not field.is_array:
                run.append(field)
                continue
            self._fixed(run, names)
            names[field.name] = self._value(struct_class, field)
        self._fixed(run, names)
        if self._is_flexible:
            self._tagged(struct_class, tagged, names)
        maker = source.constant(struct_class)
        return f"{maker}({', '.join(f'{name}={value}' for name, value in names.items())})"

    def _fixed(self, run: list[Field], names: dict[str, str]) -> None:
        """Write the reading of fields of fixed size that follow each other: one call for all."""
        if not run:
            return
        layout = struct.Struct(">" + "".join(FIXED_FORMATS[field.kind] for field in run))
        variables = [self._source.variable() for _ in run]
        unpack = self._source.constant(layout.unpack_from)
        self._source.add(
            f"{', '.join(variables)}, = {unpack}(data, position)", f"position += {layout.size}"
        )
        names.update(zip((field.name for field in run), variables, strict=True))
        run.clear()

    def _tagged(self, struct_class: Any, tagged: list[Field], names: dict[str, str]) -> None:
        source = self._source
        if not tagged:
            with source.block("if data[position]:"):
                source.add("position, budget = skip_tags(data, position, budget)")
            with source.block("else:"):
                source.add("position += 1")
            return
        for field in tagged:
            names[field.name] = source.variable()
            source.add(f"{names[field.name]} = {source.constant(field.default)}")
        count, tag, size, stop = (source.variable() for _ in range(4))
        source.add(f"{count}, position = read_varint(data, position)")
        self._spend(count)
        with source.block(f"for _ in range({count}):"):
            source.add(
                f"{tag}, position = read_varint(data, position)",
                f"{size}, position = read_varint(data, position)",
                f"{stop} = position + {size}",
            )
            with source.block(f"if {stop} > end:"):
                source.add(f"raise bad_length({size}, position, end)")
            for number, field in enumerate(tagged):
                with source.block(f"{'elif' if number else 'if'} {tag} == {field.tag}:"):
                    source.add(f"{names[field.name]} = {self._any(struct_class, field)}")
                    with source.block(f"if position != {stop}:"):
                        source.add(f"raise bad_tag({tag}, position, {stop})")
            with source.block("else:"):
                source.add(f"position = {stop}")

    def _any(self, struct_class: Any, field: Field) -> str:
        if field.kind in FIXED_FORMATS and not field.is_array:
            names: dict[str, str] = {}
            self._fixed([field], names)
            return names[field.name]
        return self._value(struct_class, field)

    def _value(self, struct_class: Any, field: Field) -> str:
        if field.is_array:
            return self._array(struct_class, field)
        if not field.kind:
            return self._inner(struct_class, field)
        return self._sized(field)

    def _inner(self, struct_class: Any, field: Field) -> str:
        found = self._source.variable()
        inner = inner_type(struct_class, field)
        # A tagged struct has no mark of its own: a null one is not sent.
        if self._version in field.nullable and field.tag is None:
            mark = self._source.variable()
            self._source.add(f"{mark} = data[position]", "position += 1")
            with self._source.block(f"if {mark} > 127:"):
                self._source.add(f"{found} = None")
            with self._source.block("else:"):
                self._source.add(f"{found} = {self.struct(inner, field.fields)}")
        else:
            self._source.add(f"{found} = {self.struct(inner, field.fields)}")
        return found

    def _length(self, field: Field, layout: str) -> str:
        """Write the reading of a length, -1 for null, and return its variable."""
        source, length = self._source, self._source.variable()
        if self._is_flexible and not field.is_inflexible:
            source.add(f"{length} = data[position]", "position += 1")
            with source.block(f"if {length} > 127:"):
                source.add(f"{length}, position = read_varint(data, position - 1)")
            source.add(f"{length} -= 1")
        else:
            unpack = source.constant(struct.Struct(layout).unpack_from)
            source.add(
                f"{length}, = {unpack}(data, position)",
                f"position += {struct.calcsize(layout)}",
            )
        return length

    def _null_or(self, field: Field, length: str, found: str) -> None:
        """Write what a negative length means; an ``else`` follows."""
        source = self._source
        may_be_null = self._version in field.nullable
        with source.block(f"if {length} < 0:"):
            # Records that are null are what an empty fetch says in old versions.
            if may_be_null or field.kind == "records":
                with source.block(f"if {length} != -1:"):
                    source.add(f"raise bad_length({length}, position, end)")
                source.add(f"{found} = None")
            else:
                source.add(f"raise bad_length({length}, position, end)")

    def _sized(self, field: Field) -> str:
        source, found = self._source, self._source.variable()
        length = self._length(field, ">h" if field.kind == "string" else ">i")
        self._null_or(field, length, found)
        with source.block("else:"):
            source.add(f"stop = position + {length}")
            with source.block("if stop > end:"):
                source.add(f"raise bad_length({length}, position, end)")
            if field.kind == "string" and self._is_flexible and not field.is_inflexible:
                with source.block(f"if {length} > {primitives.MAX_STRING_BYTES}:"):
                    source.add(f"raise bad_string({length}, position)")
            cut = "data[position:stop]"
            source.add(
                f"{found} = {f'str({cut}, utf8)' if field.kind == 'string' else cut}",
                "position = stop",
            )
        return found

    def _spend(self, number: str) -> None:
        self._source.add(f"budget -= {number}")
        with self._source.block("if budget < 0:"):
            self._source.add("raise too_many()")

    def _array(self, struct_class: Any, field: Field) -> str:
        source, found = self._source, self._source.variable()
        length = self._length(field, ">i")
        self._null_or(field, length, found)
        with source.block("else:"):
            # Before anything is made of it. Each element is a byte at least.
            with source.block(f"if {length} > end - position:"):
                source.add(f"raise bad_length({length}, position, end)")
            self._spend(length)
            element = field._replace(is_array=False, nullable=NEVER)
            if field.kind in FIXED_FORMATS:
                layout, size = (
                    FIXED_FORMATS[field.kind],
                    struct.calcsize(">" + FIXED_FORMATS[field.kind]),
                )
                unpack = source.constant(struct.unpack_from)
                form = f"'>%d{layout}' % {length}" if size < 16 else f"'>' + '{layout}' * {length}"
                with source.block(f"if {length} * {size} > end - position:"):
                    source.add(f"raise bad_length({length}, position, end)")
                source.add(
                    f"{found} = list({unpack}({form}, data, position))",
                    f"position += {length} * {size}",
                )
            else:
                source.add(f"{found} = []")
                with source.block(f"for _ in range({length}):"):
                    if field.kind:
                        value = self._sized(element)
                    else:
                        value = self.struct(inner_type(struct_class, field), field.fields)
                    source.add(f"{found}.append({value})")
        return found
