from __future__ import annotations

import pytest

from streamlog.cli.live.controls import Controls
from streamlog.cli.live.ordering import SortKey


@pytest.mark.parametrize("key", list(SortKey))
def test_the_first_letter_sorts(key: SortKey) -> None:
    controls = Controls()
    controls.press("l")
    controls.press(key.value[0])
    assert controls.sort_key is key


def test_q_quits_but_not_while_the_filter_is_typed() -> None:
    controls = Controls()
    controls.press("/q")
    assert not controls.has_quit
    controls.press("\r")
    controls.press("q")
    assert (controls.has_quit, controls.text) == (True, "q")


def test_a_filter_is_typed_corrected_and_kept() -> None:
    controls = Controls()
    controls.press("/")
    assert controls.is_typing
    controls.press("orx\x7fd")
    assert controls.text == "ord"
    controls.press("\n")
    assert (controls.is_typing, controls.text) == (False, "ord")
    controls.press("/")
    assert controls.text == ""


def test_escape_gives_the_filter_up_typed_or_kept() -> None:
    for keys in (["/or", "\x1b"], ["/or\r", "\x1b"]):
        controls = Controls()
        for key in keys:
            controls.press(key)
        assert (controls.is_typing, controls.text) == (False, "")


def test_arrows_and_unknown_keys_do_nothing() -> None:
    controls = Controls(SortKey.LAG, "x")
    for keys in ("\x1b[A", "z", "\t"):
        controls.press(keys)
    assert controls == Controls(SortKey.LAG, "x")
