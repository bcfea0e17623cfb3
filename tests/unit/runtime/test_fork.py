from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def test_living_objects_are_told_in_order_and_a_failing_one_stops_no_other(
    run_python: Callable[..., str],
) -> None:
    answer = run_python(
        """
        import gc, logging, os
        from streamlog.runtime import on_fork_in_child
        logging.getLogger("streamlog").setLevel(logging.CRITICAL)
        told = []

        class Aware:
            __hash__ = None  # as an attrs class with value equality
            def __init__(self, name):
                self.name = name
                on_fork_in_child(self)
            def _forked(self):
                told.append(self.name)
                if self.name == "second":
                    raise RuntimeError

        objects = [Aware("first"), Aware("second"), Aware("third"), Aware("dead")]
        objects.pop()
        gc.collect()
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, repr(told).encode())
            os._exit(0)
        os.wait()
        print(os.read(reader, 1000).decode(), told)
        """
    )
    assert answer == "['first', 'second', 'third'] []"
