"""Methods of the blocking clients, as methods of their counterparts for asyncio."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from streamlog.errors import ConcurrentModificationError

if TYPE_CHECKING:
    from types import TracebackType

P = ParamSpec("P")
R = TypeVar("R")


def at_once(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Return a method that calls *method* of the blocking client: one that never waits."""

    @functools.wraps(method)
    def call(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self._client, *args, **kwargs)

    return cast("Callable[Concatenate[Any, P], R]", call)


def in_thread(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Return a coroutine method that runs *method* of the blocking client in a worker thread.

    For calls that may wait for the disk. Cancelling the task does not stop the call.
    """

    @functools.wraps(method)
    async def call(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        client = self._client
        return await run_blocking(
            self._is_virtual, functools.partial(method, client, *args, **kwargs)
        )

    return cast("Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]", call)


def to_its_end(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Return a coroutine method like that of `in_thread`, which a cancelled task waits for all the same;
    see `run_to_its_end`.
    """

    @functools.wraps(method)
    async def call(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        client = self._client
        return await run_to_its_end(
            self._is_virtual, functools.partial(method, client, *args, **kwargs)
        )

    return cast("Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]", call)


async def run_blocking(is_virtual: bool, call: Callable[[], R]) -> R:
    """Return what *call* returns, which may wait: in a worker thread, so that the loop goes on.

    Under a virtual clock waiting takes no time, and everything happens in one thread.
    """
    if is_virtual:
        return call()
    return await asyncio.get_running_loop().run_in_executor(None, call)


async def run_to_its_end(is_virtual: bool, call: Callable[[], R]) -> R:
    """Return what *call* returns, as `run_blocking`; a task that is cancelled meanwhile waits for the end
    all the same, and CancelledError goes on then, from what *call* raised.

    For calls after which others may follow at once, which must not meet this one still running.
    """
    if is_virtual:
        return call()
    future = asyncio.get_running_loop().run_in_executor(None, call)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from future.exception()
    return future.result()


class OneTask:
    """``with one_task:`` around calls that wait; a second task is refused instead (CON-2)."""

    __slots__ = ("_is_inside",)

    def __init__(self) -> None:
        self._is_inside = False

    def __enter__(self) -> None:
        if self._is_inside:
            raise ConcurrentModificationError(
                "the consumer is in use by another task: expected one at a time, only wakeup() may be "
                "called meanwhile; give each task a consumer of its own"
            )
        self._is_inside = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_inside = False
