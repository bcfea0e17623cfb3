"""Regular expressions of clients, with the library for them and without."""

from __future__ import annotations

import sys
import warnings

import pytest

from streamlog.wire.topic_pattern import InvalidTopicPatternError, compile_pattern

LONG_NAME = "a" * 249
TOO_MANY_STEPS = "repeats and alternatives that match in more than 500000 steps"
#: A character beyond the first plane: ``re`` searches classes of them one by one.
ASTRAL = "\N{PILE OF POO}"


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
        (r"log-\d{4}-\d{2}-\d{2}", "log-2024-02-29", "log-2024-2-29"),
        (".*-.*-eu", "a-b-eu", "a-eu"),
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
@pytest.mark.parametrize("text", ["(" * 500 + ")" * 500, "a{99999999999}"])
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
        ("a*a*a*b", TOO_MANY_STEPS),
        ("a*a{0,249}a+b", TOO_MANY_STEPS),
        ("a?" * 17 + "b", TOO_MANY_STEPS),
        ("(a|a)" * 17 + "b", TOO_MANY_STEPS),
        ("(a|(a|(a|a)))" * 9 + "b", TOO_MANY_STEPS),
        ("a*a*" + "a" * 7 + "b", TOO_MANY_STEPS),
        ("a*(" + "|" * 700 + ")b", TOO_MANY_STEPS),
        (
            "[^" + ASTRAL * 80 + "]*" + "[^" + ASTRAL * 80 + "]*" + "[^" + ASTRAL * 80 + "]",
            TOO_MANY_STEPS,
        ),
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
@pytest.mark.parametrize(
    "text",
    [
        ".*.*b",
        "a*a*aaab",
        ".*a(a|a).*b",
        "(.*|.*)b",
        "a?" * 16 + "b",
        "(a|aa)" * 15 + "b",
        "a*(?:" + "|".join("a" * count + "b" for count in range(1, 36)) + ")",
        "a*a{100}a{100}b",
        "a*?a*b",
    ],
)
def test_without_the_library_what_is_taken_is_matched_soon(text: str) -> None:
    for _ in range(10):
        assert not compile_pattern(text).fullmatch(LONG_NAME)


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("repeats", ["a*a*", "a*?a+", "a{0,}(a*)"])
def test_without_the_library_each_alternative_counts_for_each_way_to_come_to_it(
    repeats: str,
) -> None:
    """Two repeats and one group of alternatives were taken, however many: 36 ms for one name, 36 s for a thousand topics, and every
    member of every group waited.
    """
    alternatives = "|".join("a" * count + "b" for count in range(1, 41))
    with pytest.raises(InvalidTopicPatternError, match=TOO_MANY_STEPS):
        compile_pattern(f"{repeats}(?:{alternatives})")


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ("[[a]x", "[["),
        ("[^[a]x", "[["),
        ("[[:alpha:]]+", "[["),
        ("[a--b]", "--"),
        ("[a&&b]", "&&"),
        ("x[^a||b]", "||"),
        (r"[\]a~~b]", "~~"),
        ("[[a", "[["),
    ],
)
def test_without_the_library_what_may_be_a_set_operation_is_invalid(
    text: str, operation: str
) -> None:
    """Python's `re` warns of them; where warnings are errors the connection ended instead of being told what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidTopicPatternError) as caught:
            compile_pattern(text)
    assert str(caught.value).startswith(f"{operation!r} within [] has two meanings")


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize(
    ("text", "yes"), [(r"[\[[]", "["), (r"[a\--]", "-"), ("a--b", "a--b"), (r"\[[x]", "[x")]
)
def test_without_the_library_what_only_looks_like_a_set_operation_is_taken(
    text: str, yes: str
) -> None:
    assert compile_pattern(text).fullmatch(yes)


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("text", ["\\", "a)", "[", "[^", "[]", "[a\\", "(?", "a|*"])
def test_without_the_library_what_breaks_off_is_invalid(text: str) -> None:
    with pytest.raises(InvalidTopicPatternError):
        compile_pattern(text)


@pytest.mark.usefixtures("library")
def test_patterns_of_one_text_are_equal() -> None:
    """A hundred members with one pattern cost one pass over the topics."""
    one, again, other = compile_pattern("a.*"), compile_pattern("a.*"), compile_pattern("b.*")
    assert one == again
    assert hash(one) == hash(again)
    assert one != other
