from __future__ import annotations

from streamlog.broker.member_session import MemberSession, RemoteSession
from streamlog.runtime import Signal


def test_news_are_counted_and_raise_the_signal() -> None:
    signal = Signal()
    session = MemberSession(signal, 300_000, 5.0)
    assert (session.news, signal.is_set(), session.last_poll_ms) == (0, False, 5.0)
    session.notify()
    session.notify()
    assert (session.news, signal.is_set()) == (2, True)


def test_a_renewed_session_shares_the_signal_and_nothing_that_comes_later() -> None:
    session = MemberSession(Signal(), 300_000, 5.0)
    session.notify()
    renewed = session.renewed()
    assert renewed.signal is session.signal
    assert (renewed.news, renewed.max_poll_interval_ms, renewed.last_poll_ms) == (0, 300_000, 5.0)
    renewed.last_poll_ms = 6.0
    assert session.last_poll_ms == 5.0


def test_session_of_this_process_hears_nothing() -> None:
    """CON-14: polling is what counts."""
    session = MemberSession(Signal(), 300_000, 5.0)
    session.heard(7.0)
    assert (session.last_poll_ms, session.is_remote) == (5.0, False)


def test_remote_session_begins_anew_with_each_request_and_wakes_nobody() -> None:
    session = RemoteSession(10_000, 60_000, 5.0)
    session.heard(7.0)
    assert (session.last_poll_ms, session.max_poll_interval_ms) == (7.0, 10_000)
    assert (session.is_remote, session.rebalance_timeout_ms) == (True, 60_000)
    session.notify()
    assert (session.news, session.signal.is_set()) == (0, False)
