"""Ctrl-C at a chosen moment: the interpreter's own, between two instructions, the same one each time.

A real signal only sets a flag; the exception comes out where the interpreter next looks at it: after a call of C, on entering a
function, at the end of a round of a loop. So a tracer counts the instructions of the library and sets that flag at the chosen one, by
the function with which the interpreter's own handler sets it. Nothing of Python runs between that and the moment when the exception
comes out, which therefore is one at which a real Ctrl-C may come out, on whatever version of Python this runs.
"""

from __future__ import annotations

import ctypes
import dis
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import streamlog

_LIBRARY = streamlog.__file__.removesuffix("__init__.py")

#: Called by the interpreter as a trace function, hence the three arguments, which it does not look at.
_trip = ctypes.PyDLL(None).PyErr_SetInterrupt
_trip.argtypes = [ctypes.py_object] * 3
_trip.restype = None

_HANG_S = 60.0

_Place = tuple[CodeType, int]


class Interrupted(BaseException):
    """What comes out, as KeyboardInterrupt does: no ``except Exception`` stops it."""


class _Tracer:
    """Counts the instructions of the library, and trips at one of them."""

    def __init__(self, moment: int, watched: str) -> None:
        self._moment = moment
        self._watched = watched
        self.count = 0
        self.is_over = False
        self.places: list[tuple[_Place, _Place | None]] = []

    def enter(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(self._watched):
            return None
        frame.f_trace_lines = False
        # First: from 3.13 on instructions are told only to a frame that has a tracer already, and so not in the first call of all.
        frame.f_trace = self.step
        frame.f_trace_opcodes = True
        return self.step

    def step(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            self.count += 1
            if not self._moment:
                caller = frame.f_back
                self.places.append(
                    (
                        (frame.f_code, frame.f_lasti),
                        caller and (caller.f_code, caller.f_lasti),
                    )
                )
            elif self.count == self._moment:
                # Nothing of ours may run from here on, or the exception would come out in it. Entering a function is no
                # exception: it comes out there all the same.
                sys.settrace(_ignore)
                above = frame.f_back
                while above is not None:
                    if above.f_trace is not None:
                        above.f_trace = _trip
                    above = above.f_back
                return _trip
        return self.step

    def handle(self, number: int, frame: FrameType | None) -> None:
        if not self.is_over:
            self.is_over = True
            sys.settrace(None)
            raise Interrupted


def _ignore(frame: FrameType, event: str, arg: object) -> None:
    return None


def moments(work: Callable[[], object], *, of_each: int, watched: str = _LIBRARY) -> list[int]:
    """Run *work* and return the moments at which to interrupt it: every place of the library at which the flag may be seen, told
    apart by caller as well, and of each the first *of_each* times. *watched* is how the paths of the files begin that count.
    """
    before = sys.gettrace()
    tracer = _Tracer(0, watched)
    _tell_instructions()
    sys.settrace(tracer.enter)
    try:
        work()
    finally:
        sys.settrace(before)
    seen: Counter[tuple[_Place, _Place | None]] = Counter()
    looks: dict[CodeType, frozenset[int]] = {}
    chosen: list[int] = []
    for number, place in enumerate(tracer.places):
        code, position = place[0]
        if code not in looks:
            looks[code] = frozenset(_looks(code))
        if position in looks[code] and seen[place] < of_each:
            seen[place] += 1
            chosen.append(number)  # the one before: the flag is set when the next one comes
    return [moment for moment in chosen if moment > 0]


def interrupted_at(moment: int, work: Callable[[], object], *, watched: str = _LIBRARY) -> bool:
    """Run *work*, interrupted at *moment* (1 is its first instruction); return whether that came out of it."""
    tracer = _Tracer(moment, watched)
    tracer_before = sys.gettrace()
    before = signal.signal(signal.SIGINT, tracer.handle)
    hook_before = sys.unraisablehook
    sys.unraisablehook = _let_go(hook_before)
    _tell_instructions()
    sys.settrace(tracer.enter)
    try:
        work()
    except Interrupted:
        return True
    finally:
        tracer.is_over = True
        sys.settrace(None)
        for _ in range(2):  # whatever is still to be delivered goes to this handler
            signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = hook_before
        sys.settrace(tracer_before)
    return False


def _tell_instructions() -> None:
    """Python 3.12 looks only when a tracer is set whether any frame ever asked for instructions: so the first tracer of a process
    was told of none.
    """
    sys._getframe().f_trace_opcodes = True


def _let_go(hook: Callable[[sys.UnraisableHookArgs], object]) -> Callable[[Any], None]:
    """Return *hook*, blind to the interrupt: where it comes out as an iterator is let go of, the interpreter drops it and says so,
    as it does with a real one. The program goes on, and what pytest hears of it would be held against whatever test comes next.
    """

    def heard(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            hook(unraisable)

    return heard


@contextmanager
def no_hang(what: str) -> Iterator[None]:
    """Raise AssertionError in the main thread when the block takes longer than anything here should."""

    def hangs(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{what}: hangs")

    main = threading.main_thread().ident
    assert main is not None
    before = signal.signal(signal.SIGUSR1, hangs)
    timer = threading.Timer(_HANG_S, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def _looks(code: CodeType) -> Iterator[int]:
    """Return where in *code* the interpreter may look at its flag."""
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if "CALL" in name or "BACKWARD" in name or name in ("JUMP_ABSOLUTE", "RETURN_VALUE"):
            yield instruction.offset
