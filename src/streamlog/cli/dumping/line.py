"""One line of a dump: named fields, for a reader or as JSON."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from streamlog.cli.output import cell


@attrs.frozen
class Line:
    """*kind* says what the line is about; the fields have the names of Kafka's ``DumpLogSegments`` where that has them."""

    kind: str
    fields: Mapping[str, object]
    prefix: str = ""
    """Put in front of the text."""

    @property
    def is_damage(self) -> bool:
        """Whether the line shows bytes that are not what they should be."""
        return self.kind == "damage" or self.fields.get("isvalid") is False

    def text(self) -> str:
        """Return the line as text: ``name: value`` one behind the other."""
        parts = [f"{name}: {cell(value)}" for name, value in self.fields.items()]
        if self.kind == "damage":
            parts.insert(0, "DAMAGE")
        return self.prefix + " ".join(parts)

    def as_map(self) -> dict[str, object]:
        """Return the line as a map, for JSON."""
        return {"kind": self.kind, **self.fields}
