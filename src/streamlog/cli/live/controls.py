"""What the keys of `top` do."""

from __future__ import annotations

import attrs

from streamlog.cli.live.ordering import SortKey

_SORT_KEYS = {key.value[0]: key for key in SortKey}
_ENTER, _ESCAPE, _ERASE = "\r\n", "\x1b", "\x7f\x08"


@attrs.define
class Controls:
    """How the screen is sorted and filtered, changed key by key."""

    sort_key: SortKey = SortKey.NAME
    text: str = ""
    """Only rows that contain it are shown."""
    is_typing: bool = False
    """Whether the filter is being typed."""
    has_quit: bool = False

    def press(self, keys: str) -> None:
        """Take what was typed. An escape sequence, such as an arrow's, does nothing."""
        if len(keys) > 1 and keys.startswith(_ESCAPE):
            return
        for key in keys:
            self._press(key)

    def _press(self, key: str) -> None:
        if not self.is_typing:
            if key == "q":
                self.has_quit = True
            elif key == "/":
                self.is_typing, self.text = True, ""
            elif key == _ESCAPE:
                self.text = ""
            else:
                self.sort_key = _SORT_KEYS.get(key, self.sort_key)
        elif key in _ENTER:
            self.is_typing = False
        elif key == _ESCAPE:
            self.is_typing, self.text = False, ""
        elif key in _ERASE:
            self.text = self.text[:-1]
        elif key.isprintable():
            self.text += key
