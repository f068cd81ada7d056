"""RetryingLoop: the loop of a node that gets a message again when it fails, or whose failures are marked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from remotemedia._telling import clip
from remotemedia.core.data import RuntimeData, held_again
from remotemedia.core.marks import END_OF_TURN, FAILURE
from remotemedia.core.multiprocess.node.failure import describe_failure
from remotemedia.core.multiprocess.node.held import Held
from remotemedia.core.multiprocess.node.loop import NodeLoop, Report
from remotemedia.core.multiprocess.node.node import MultiprocessNode
from remotemedia.core.multiprocess.node.turn_ends import without_ends
from remotemedia.core.multiprocess.values.protocol import MessageRetried
from remotemedia.errors import ChannelCorruptedError

__all__ = ["RetryingLoop"]

_REASON_CHARS, _PORT_CHARS = 1_000, 1_000


class RetryingLoop(NodeLoop):
    """Makes each call of ``process()`` and ``on_mark()`` inside a call of its own, which sends what they give.

    A message is kept for the next attempt, and its payload as it came, until the node puts something out: then it is
    not made again. So an output may still be the only holder of what came in. An interruption finds these attempts as
    it finds any call.
    """

    def __init__(self, node: MultiprocessNode, report: Report, *, retries: int, failure_marks: bool) -> None:
        super().__init__(node, report)
        self._retries = retries
        self._failure_marks = failure_marks
        self._kept: list[Any] = []
        self._outputs = 0
        self._attempts = _Attempts()
        if retries or failure_marks:
            self._called = _Called(self)

    def hold(self) -> Held:
        held = super().hold()
        if self._retries and self._attempts.did(held, "hold"):
            held.holds -= 1
        return held

    def release(self, those: tuple[Held, ...]) -> None:
        if those and self._retries and self._is_in_call():
            those = tuple(held for held in those if not self._attempts.did(held, "release"))
            if not those:  # which would mean: all
                return
        super().release(those)

    async def attempt(self, message: list[Any], call: Callable[[RuntimeData], Any]) -> None:
        """Makes the call with the only entry of ``message``, which it takes out, and sends what it gives."""
        told = _Told(message[0])
        self._outputs, left = 0, self._retries
        self._kept = message
        self._attempts.begin_message()
        if left:
            message.append(held_again(message[0].payload))
        try:
            while left:
                left -= 1
                try:
                    return await self._emit_result([call(message[0])], self._call_epoch)
                except ChannelCorruptedError:
                    raise
                except Exception as error:
                    if not message or self._interrupts or self._is_being_ended() or self._is_call_cut():
                        raise
                    self._report_retry(error, told.sequence, told.port)
                self._attempts.begin_next()
                await asyncio.sleep(0)  # lets an interruption in, or a stop
            del message[1:]
            await self._emit_result([call(message.pop())], self._call_epoch)
        except ChannelCorruptedError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if self._failure_marks and not self._interrupts and not self._is_being_ended():
                await self._mark(error, told)
            raise
        finally:
            self._kept = []
            self._attempts.begin_message()

    async def _mark(self, error: BaseException, told: _Told) -> None:
        mark = RuntimeData.control(
            FAILURE,
            {
                "node_id": self._node.node_id,
                "reason": clip(describe_failure(error).reason, _REASON_CHARS),
                "port": clip(told.port, _PORT_CHARS),
                "sequence": told.sequence,
                "outputs": self._outputs,
            },
            session_id=told.session_id,
            timestamp=told.timestamp,
        )
        try:
            await super()._emit(mark, self._call_epoch, self._origin)
        except asyncio.CancelledError:
            # An interruption while the mark waited for room: the message has failed before that, and it is reported.
            if not self._interrupts or self._is_being_ended():
                raise
        finally:
            self._commit()

    async def _emit(self, output: Any, epoch: int, origin: int | Held | None) -> None:
        if output is None:
            return
        in_call = self._is_in_call()
        if in_call:
            self._kept.clear()
        await super()._emit(output, epoch, origin)
        if in_call and isinstance(output, RuntimeData):
            self._outputs += 1

    async def _emit_on(self, port: str, data: RuntimeData, epoch: int, origin: int | Held | None) -> None:
        await super()._emit_on(port, data, epoch, origin)
        if self._is_in_call():
            self._outputs += 1

    def _report_retry(self, error: BaseException, sequence: int, port: str) -> None:
        described = describe_failure(error)
        self._report(MessageRetried(described.reason, described.traceback, sequence, clip(port, _PORT_CHARS)))


class _Told:
    """What a failure says of its message, whose payload it must not keep."""

    __slots__ = ("port", "sequence", "session_id", "timestamp")

    def __init__(self, message: RuntimeData) -> None:
        self.port = message.port
        self.sequence = message.sequence
        self.session_id = message.session_id
        self.timestamp = message.timestamp


class _Attempts:
    """What the attempts at one message have held and released: what a later one does again has been done."""

    def __init__(self) -> None:
        self._before: Counter[tuple[Held, str]] = Counter()
        self._now: Counter[tuple[Held, str]] = Counter()

    def begin_message(self) -> None:
        self._before.clear()
        self._now.clear()

    def begin_next(self) -> None:
        self._before |= self._now
        self._now.clear()

    def did(self, held: Held, what: str) -> bool:
        """Notes that this attempt does that; whether an earlier one has."""
        self._now[held, what] += 1
        return self._now[held, what] <= self._before[held, what]


class _Called:
    """What the loop calls in the node's place."""

    def __init__(self, loop: RetryingLoop) -> None:
        self._loop = loop
        self._node = loop._node

    async def process(self, data: RuntimeData) -> None:
        message = [data]
        del data  # see RetryingLoop.attempt
        await self._loop.attempt(message, self._node.process)

    async def on_mark(self, mark: RuntimeData) -> None:
        # The loop passes the end of a turn on by itself, once this has returned.
        is_end = mark.mark == END_OF_TURN and not self._node._relays_ends
        await self._loop.attempt([mark], partial(_without_ends_of, self._node) if is_end else self._node.on_mark)


def _without_ends_of(node: MultiprocessNode, mark: RuntimeData) -> Any:
    return without_ends(partial(node.on_mark, mark))
