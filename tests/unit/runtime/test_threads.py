from __future__ import annotations

import threading

from streamlog.runtime import current_thread, get_ident, spawn
from streamlog.runtime.threads import is_alive


def test_spawn_runs_the_target_in_a_named_daemon_thread() -> None:
    seen: list[object] = []

    def target() -> None:
        thread = current_thread()
        seen.extend([thread.name, thread.daemon, get_ident() == thread.ident])

    thread = spawn("worker", target)
    thread.join(10)
    assert seen == ["worker", True, True]
    assert thread not in threading.enumerate()


def test_is_alive_knows_running_threads_by_their_ident() -> None:
    go = threading.Event()
    thread = spawn("worker", lambda: go.wait(10) and None)
    ident = thread.ident
    assert ident is not None
    assert is_alive(ident)
    assert is_alive(get_ident())
    go.set()
    thread.join(10)
    assert not is_alive(ident)
