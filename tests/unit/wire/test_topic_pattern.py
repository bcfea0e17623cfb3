"""Regular expressions of clients, with the library for them and without."""

from __future__ import annotations

import sys

import pytest

from streamlog.wire.topic_pattern import InvalidTopicPatternError, compile_pattern

LONG_NAME = "a" * 249


@pytest.fixture(params=["re2", "re"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name == "re2":
        pytest.importorskip("re2")
    else:
        monkeypatch.setitem(sys.modules, "re2", None)
    return name


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("orders-.*", "orders-eu", "my-orders-eu"),
        ("^orders-[0-9]+$", "orders-12", "orders-x"),
        (r"eu\.(orders|payments)\.v\d+", "eu.payments.v2", "eu.refunds.v2"),
        ("a.*|b.*", "bcd", "cab"),
        (r"[]\](*+]x", "]x", "ax"),
        ("(?:one|two)-x?", "two-", "three-"),
        ("[^a]b", "cb", "ab"),
        (r"\(x\)\.", "(x).", "x"),
    ],
)
def test_whole_names_match(text: str, yes: str, no: str) -> None:
    pattern = compile_pattern(text)
    assert pattern.fullmatch(yes)
    assert not pattern.fullmatch(no)
    assert pattern.pattern == text


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("text", ["((", "[a", "*", r"(a)\1", "(?=a)a"])
def test_what_is_no_pattern_is_invalid(text: str) -> None:  # fmt: skip
    with pytest.raises(InvalidTopicPatternError):
        compile_pattern(text)


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("text", ["(" * 5000 + ")" * 5000, "a{99999999999}"])
def test_without_the_library_what_is_too_much_for_python_is_invalid(text: str) -> None:
    with pytest.raises(InvalidTopicPatternError):
        compile_pattern(text)


@pytest.mark.parametrize("text", ["(a|a?)+b", "(a+)+b", "a*a*a*a*a*a*b", "(a|a)" * 40 + "b"])
def test_pattern_that_takes_for_ever_is_matched_all_the_same(text: str) -> None:
    """Python's `re` tries every way to match, which are 2 to the power of 249: the broker served nobody any more."""
    pytest.importorskip("re2")
    assert not compile_pattern(text).fullmatch(LONG_NAME)


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(a|a?)+b", "a group that is repeated"),
        ("(a+){9}b", "a group that is repeated"),
        ("a*a*a*b", "more than 2 repeats"),
        ("a?a?a?", "more than 2 repeats"),
        ("(a|a)(a|a)b", "more than 1 group of alternatives"),
        ("((a|a)(a|a))b", "more than 1 group of alternatives"),
        (r"(a)\1", "a back reference"),
        ("(?=a)a", r"'\(\?='"),
        ("(?i)a", r"'\(\?i'"),
        ("a" * 1001, "more than 1000 characters"),
    ],
)
def test_without_the_library_what_may_take_for_ever_is_invalid(text: str, reason: str) -> None:
    with pytest.raises(
        InvalidTopicPatternError, match=f"{reason} may take for ever.*streamlog-broker.wire"
    ):
        compile_pattern(text)


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("text", [".*.*b", ".*a(a|a|a).*b", "(.*|.*)b"])
def test_without_the_library_what_is_taken_is_matched_soon(text: str) -> None:
    for _ in range(10):
        assert not compile_pattern(text).fullmatch(LONG_NAME)


@pytest.mark.usefixtures("library")
def test_patterns_of_one_text_are_equal() -> None:
    """A hundred members with one pattern cost one pass over the topics."""
    one, again, other = compile_pattern("a.*"), compile_pattern("a.*"), compile_pattern("b.*")
    assert one == again
    assert hash(one) == hash(again)
    assert one != other
