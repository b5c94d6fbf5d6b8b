"""Reading ASGI bodies: a look at the first bytes, a bounded read, handing on what was read, letting go of a rest."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
from starlette.types import Message, Receive, Send

from .effects import Body, Read
from .form import PREFIX
from .intake import Buffer, Intake, Pace
from .protocols import Request
from .settings import KIB, Settings
from .threads import in_thread, on_asyncio

_Result = TypeVar("_Result")

# Above this, hashing and joining take longer than the event loop should be held.
_LARGE = 256 * KIB
# Fifteen messages of a byte each are enough to know; some servers put empty ones between.
_MOST_LOOKS = 64
# Seconds: an answer that takes longer to send may wait for its request's body.
_LONG = 1.0


class Replay:
    """A ``receive`` that gives messages that were read already, each once, then those of the real ``receive``.

    Answering anything else then would break applications: a disconnect cuts their response, an endless row of empty
    messages hangs them.
    """

    __slots__ = ("_messages", "_receive")

    def __init__(self, messages: list[Message], receive: Receive) -> None:
        self._messages = messages
        self._receive = receive

    @property
    def ready(self) -> bool:
        """Whether the next message has been read already."""
        return bool(self._messages)

    async def __call__(self) -> Message:
        return self._messages.pop(0) if self._messages else await self._receive()


@dataclass(slots=True)
class Seen:
    """What a look at the first bytes of a body showed; the messages are to be handed on."""

    messages: list[Message]
    ours: bool
    slow: bool = False


def begin(receive: Receive) -> tuple[Message | None, Awaitable[Message] | None]:
    """The first message, if it is there already; else what is to be awaited for it.

    Nearly always it is there. Then no task switches and no timer is made, which would cost more than all the rest.
    """
    awaitable = receive()
    if "trio" in sys.modules and not on_asyncio():
        # Scopes must nest there, so one cannot be opened once the receive has begun, which may have one of its own.
        return None, awaitable
    iterator = awaitable.__await__()
    try:
        waiting_for = next(iterator)
    except StopIteration as stop:
        return stop.value, None
    return None, _resume(iterator, waiting_for)


def ours_at_once(message: Message) -> bool | None:
    """Whether a body that begins with this message is an answer request; ``None`` if more is needed to know."""
    if message["type"] != "http.request":
        return None
    return _begins(message.get("body", b""), not message.get("more_body", False))


async def peek(receive: Receive, first: Message | None, pending: Awaitable[Message] | None, timeout: float) -> Seen:
    """Look at as many messages as it takes to know whether the body begins like an answer request.

    :param first: the first message, if it was there already.
    :param pending: else what is to be awaited for it.
    :param timeout: seconds that this may take.
    """
    messages: list[Message] = [] if first is None else [first]
    if not on_asyncio():
        with anyio.move_on_after(timeout):
            return Seen(messages, await _look(messages, receive, pending))
        return Seen(messages, ours=False, slow=True)
    try:
        # Unlike a cancel scope, this may be entered in the middle of a receive that has opened scopes of its own.
        async with asyncio.timeout(timeout) as timer:
            return Seen(messages, await _look(messages, receive, pending))
    except TimeoutError:
        if not timer.expired():
            raise
    return Seen(messages, ours=False, slow=True)


async def _look(messages: list[Message], receive: Receive, first: Awaitable[Message] | None) -> bool:
    if first is not None:
        messages.append(await first)
    while (ours := _known(messages)) is None:
        messages.append(await receive())
    return ours


def _known(messages: list[Message]) -> bool | None:
    """Whether the body that these messages begin is an answer request; ``None`` if more is needed to know."""
    if messages[-1]["type"] == "http.disconnect" or len(messages) > _MOST_LOOKS:
        return False
    bodies = [message for message in messages if message["type"] == "http.request"]
    if not bodies:
        return None
    beginning = b"".join(message.get("body", b"")[: len(PREFIX)] for message in bodies)
    return _begins(beginning, not bodies[-1].get("more_body", False))


def _begins(beginning: bytes, complete: bool) -> bool | None:
    """Whether a body that begins so is an answer request; ``None`` if more of it is needed to know."""
    if len(beginning) >= len(PREFIX):
        return beginning.startswith(PREFIX)
    return None if PREFIX.startswith(beginning) and not complete else False


@types.coroutine
def _resume(iterator: Iterator[Any], waiting_for: Any) -> Generator[Any, Any, Any]:
    """Go on awaiting what has been started by hand: what ``yield from iterator`` does after its first step."""
    try:
        while True:
            try:
                sent = yield waiting_for
            except BaseException as error:
                throw = getattr(iterator, "throw", None)
                if throw is None:
                    raise
                waiting_for = throw(error)
            else:
                waiting_for = next(iterator) if sent is None else iterator.send(sent)  # type: ignore[attr-defined]
    except StopIteration as stop:
        return stop.value


async def read_body(receive: Receive, request: Request, cap: int, settings: Settings, buffer: Buffer) -> Body:
    """Read a body of up to ``cap`` bytes; drain a longer one, so that the answer reaches simple clients.

    The bytes of :attr:`Body.data` stay counted in ``buffer``; the caller gives them back.
    """
    pace: Pace | None = None
    intake = Intake(request, cap, buffer)
    most = max(cap, settings.drain_limit)
    try:
        while True:
            if isinstance(receive, Replay) and receive.ready:
                message = await receive()  # it is here already, and a timer costs more than all the rest
            else:
                now = anyio.current_time()
                pace = pace or Pace(settings.read_timeout, now)
                with anyio.fail_after(pace.left(intake.length, now)):
                    message = await receive()
            if message["type"] == "http.disconnect":
                return intake.end(Read.GONE)
            if message["type"] != "http.request":
                continue
            piece = message.get("body", b"")
            if piece and intake.take(piece):
                await _off_loop(len(piece), intake.hash, piece)
            if not message.get("more_body", False):
                return await _off_loop(intake.held, intake.finish)
            if intake.length > most:
                return intake.end(Read.OVER, closing=True)
    except TimeoutError:
        return intake.end(Read.SLOW, closing=True)
    except BaseException:
        intake.end(Read.GONE)
        raise


async def taking_the_rest(receive: Receive, send: Send, message: Message) -> None:
    """Send the end of an answer to a body that was left unread. If that takes long, let go of what comes of the body.

    Hypercorn tells the application of the answer's end through the queue that holds the body, and waits for room in it.
    """
    if not on_asyncio():
        return await _taking_the_rest_in_a_group(receive, send, message)
    # A group would end a turn of the loop after the sending. Then Granian may keep the connection open for the body.
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    timer = loop.call_later(_LONG, lambda: tasks.append(loop.create_task(_let_go(receive))))
    try:
        return await send(message)
    finally:
        timer.cancel()
        for task in tasks:
            task.cancel()


async def _taking_the_rest_in_a_group(receive: Receive, send: Send, message: Message) -> None:
    failure: Exception | None = None

    async def later() -> None:
        await anyio.sleep(_LONG)
        await _let_go(receive)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later)
        try:
            await send(message)
        except Exception as error:
            failure = error  # raised in here, it would come out of the group as another
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _let_go(receive: Receive) -> None:
    more = True
    with suppress(Exception):
        while more:
            message = await receive()
            more = message["type"] != "http.disconnect"


async def _off_loop(size: int, function: Callable[..., _Result], *args: object) -> _Result:
    return await in_thread(function, *args) if size > _LARGE else function(*args)
