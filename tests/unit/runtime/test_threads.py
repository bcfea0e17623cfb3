from __future__ import annotations

import threading

from streamlog.runtime import current_thread, get_ident, spawn


def test_spawn_runs_the_target_in_a_named_daemon_thread() -> None:
    seen: list[object] = []

    def target() -> None:
        thread = current_thread()
        seen.extend([thread.name, thread.daemon, get_ident() == thread.ident])

    thread = spawn("worker", target)
    thread.join(10)
    assert seen == ["worker", True, True]
    assert thread not in threading.enumerate()
