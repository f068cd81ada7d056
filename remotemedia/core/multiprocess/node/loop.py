"""NodeLoop: receive, process(), publish, in a node's own process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, aclosing, closing, nullcontext
from functools import partial
from inspect import isawaitable
from types import AsyncGeneratorType, CoroutineType
from typing import TYPE_CHECKING, Any

from remotemedia import _ring
from remotemedia._telling import clip, shown
from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import END_OF_TURN, zero_samples
from remotemedia.core.multiprocess.channel.handover import Attached, OutputChannel
from remotemedia.core.multiprocess.channel.loan import loan_array
from remotemedia.core.multiprocess.channel.subscriber import Subscriber, any_ready_soon
from remotemedia.core.multiprocess.node.asking import Asking
from remotemedia.core.multiprocess.node.failure import describe_failure
from remotemedia.core.multiprocess.node.held import Held, HeldMessages
from remotemedia.core.multiprocess.node.hooks import advice_for, settled
from remotemedia.core.multiprocess.node.node import MultiprocessNode, NodeStatus
from remotemedia.core.multiprocess.node.ports import by_port
from remotemedia.core.multiprocess.node.reports import Reports
from remotemedia.core.multiprocess.node.turn_ends import TurnEnds, with_its_end
from remotemedia.core.multiprocess.values.interruption import Interruption, is_not_before
from remotemedia.core.multiprocess.values.protocol import FromNode, Interrupted, MessageFailed, Progress
from remotemedia.errors import ChannelClosedError, ChannelCorruptedError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["NodeLoop"]

Report = Callable[[FromNode], None]

_LONGEST_STRETCH_NS = 5_000_000
"""How long messages may be handled without a wait before the event loop gets a turn: for an interruption, a stop,
and the node's own tasks."""

_SHORT_CHARS = 1_000

_CONTROL = DataType.CONTROL

_NEVER_AWAITED = frozenset({RuntimeData, AsyncGeneratorType, type(None), dict})


class NodeLoop:
    """Runs one node over its channels.

    ``report`` sends a control message to the orchestrator. One task does all the work: a message costs no task of its
    own, and an interruption cancels that task only while it is inside the user's code.
    """

    def __init__(self, node: MultiprocessNode, report: Report) -> None:
        self._node = node
        self._called: Any = node  # whose process() and on_mark() are called
        self._report = report
        self._knows_marks = type(node).on_mark is not MultiprocessNode.on_mark
        self._channels: Attached | None = None
        self._backpressure = True
        self._spin_ns = 0
        self._open: deque[Subscriber] = deque()
        self._task: asyncio.Task[Any] | None = None
        self._in_user_code = False
        self._ended = False
        self._aborted = False
        self._interrupts: list[int] = []
        self._epoch = 0
        self._call_epoch = 0
        self._owes = False
        self._origin = 0
        self._held = HeldMessages()
        self._used = self._held.used
        self._reports = Reports(node)
        self._turn_ends = TurnEnds([])
        self._ends: list[Held] = []
        self._due: list[tuple[Callable[[], Any], list[Held], int]] = []
        self._unrouted: set[str] = set()
        self._blocked_ns = 0
        self._rested_ns = 0
        self._staged: list[_ring.Producer] = []
        self.asking = Asking(report)
        node._node_loop = self

    def connect(self, channels: Attached, *, backpressure: bool, spin_us: int) -> None:
        """Gives the node its channels."""
        self._channels = channels
        self._backpressure = backpressure
        self._spin_ns = spin_us * 1000
        self._open = deque(channels.inputs)
        self._turn_ends = TurnEnds(channels.inputs)
        self._node.input_channels.update(by_port((one.port, one) for one in channels.inputs))
        self._node.output_channels.update(by_port((one.port, one.publisher) for one in channels.outputs))

    # --- for the node ---

    def report_progress(self, fraction: float, message: str | None) -> None:
        """See ``MultiprocessNode.report_progress``; from any thread."""
        fraction = min(max(0.0, float(fraction)), 1.0)  # in this order NaN is 0
        said = None if message is None else clip(str(message), _SHORT_CHARS)
        self._report(Progress("loading", fraction, said))

    def loan(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """See ``MultiprocessNode.loan``."""
        if self._channels is None:
            raise RuntimeError("loan() works once the node is connected, not in initialize()")
        return loan_array(self._channels.segment, shape, dtype, self._spin_ns)

    async def emit(self, output: Any, of: Held | None) -> None:
        """See ``MultiprocessNode.emit``."""
        if self._channels is None:
            raise RuntimeError("emit() works once the node is connected, not in initialize()")
        if of is None and self._is_in_call():
            of = self._channels.segment.descent(self._call_epoch, True)
        elif of is not None and self._channels.cuts.was_cut(of.epoch, of.lineage):
            return
        elif of is not None and of.released:
            raise ValueError("emit(): `of` was released; release what you hold when all that is made of it was emitted")
        try:
            # A result of process() carries the origin of its message; emitted data carry their own.
            if of is None:
                await self._emit(output, self._epoch, None)
            else:
                of.holds += 1  # whoever releases it meanwhile
                await self._emit(output, of.epoch, of)
        finally:
            del output
            self._commit()
            if of is not None:
                self._held.release((of,), in_call=False)

    def hold(self) -> Held:
        """See ``MultiprocessNode.hold``."""
        if self._channels is None or not self._is_in_call():
            raise RuntimeError("hold() is for the message that process() is at, while it is; call it there")
        return self._held.hold(self._channels.segment.descent(self._call_epoch))

    def release(self, those: tuple[Held, ...]) -> None:
        """See ``MultiprocessNode.release``."""
        if self._channels is None:
            return
        in_call = self._is_in_call()
        self._held.release(those, in_call=in_call)
        if in_call:
            self._channels.segment.gather([*self._held.used, *self._ends])
        else:
            self._let_ends_leave()

    def _is_in_call(self) -> bool:
        return self._in_user_code and asyncio.current_task() is self._task

    async def ask_interrupt(self, from_nodes: list[str], drop_queued: bool) -> None:
        """See ``MultiprocessNode.interrupt``."""
        if self._channels is None:
            raise RuntimeError("interrupt() works once the node is connected, not in initialize()")
        await self.asking.ask(from_nodes, drop_queued)

    # --- main loop ---

    async def run(self) -> None:
        """Until all inputs have ended; then ``finish()``, and the end is passed on."""
        assert self._channels is not None
        self._task = asyncio.current_task()
        while self._open:
            if self._interrupts or self._owes:
                await self._acknowledge()
            subscriber = self._next_input()
            if subscriber is not None:
                await self._handle(subscriber)
                await self._rest()
            elif self._open and not any_ready_soon(self._open):
                await self._channels.doorbell.wait(self._ready)
                self._rested_ns = _ring.now_ns()
        # finish() belongs to the epoch it begins in: on_interrupt() precedes it, even if its word is still on the way.
        while self._interrupts or self._owes or self._epoch != self._channels.cuts.epoch:
            await self._acknowledge()
        await self._finish()
        while self._interrupts or self._due:
            await self._acknowledge()
        self._ended = True
        for output in self._channels.outputs:
            output.publisher.close()

    def interrupt(self, report: Interruption) -> None:
        """Called on the event loop: give the current message up if it is of what was cut, and acknowledge that."""
        epoch = report.epoch
        self._reports.put(report)
        if is_not_before(self._epoch, epoch):
            self._report(Interrupted(epoch))  # a message of the new epoch was here first
        elif self._ended:
            self._task = None
            self._report(Interrupted(epoch))
        elif not self._in_user_code or self._task is None:
            self._interrupts.append(epoch)
            if self._channels is not None:
                self._channels.doorbell.wake()
        elif self._is_call_cut():
            self._interrupts.append(epoch)
            self._task.cancel()
        else:
            # Nothing that was cut will come of this call, however long it takes: it came by another branch.
            self._owes = True
            try:
                for subscriber in self._open:
                    subscriber._skip_stale()  # their publishers may be waiting for room or for memory
            finally:
                self._report(Interrupted(epoch))

    def _is_call_cut(self) -> bool:
        assert self._channels is not None
        return self._channels.cuts.was_cut(self._call_epoch, self._channels.segment.current)

    def abort(self) -> None:
        """Called before the task is cancelled for good: no interruption may take that cancellation for its own."""
        self._aborted = True

    async def _rest(self) -> None:
        """Gives the event loop a turn when it had none for long: a backlog or a stream may never have to wait."""
        if _ring.now_ns() - self._rested_ns > _LONGEST_STRETCH_NS:
            await asyncio.sleep(0)
            self._rested_ns = _ring.now_ns()

    async def _acknowledge(self) -> None:
        assert self._channels is not None
        epochs, self._interrupts = self._interrupts, []
        self._owes = False
        await self._begin_epoch(self._channels.cuts.epoch)
        for epoch in epochs:
            self._report(Interrupted(epoch))
        while self._due and not self._interrupts:
            await self._run_later(*self._due.pop(0))

    async def _begin_epoch(self, epoch: int) -> None:
        if is_not_before(self._epoch, epoch):
            return
        assert self._channels is not None
        before, self._epoch = self._epoch, epoch
        cuts, segment = self._channels.cuts, self._channels.segment
        if not cuts.was_cut(before, segment.ancestry):
            return  # the interruption began elsewhere, and does not come by here
        self._held.drop_cut(cuts)
        queue_cut = cuts.queue_cut(segment.bit)
        for subscriber in self._open:
            subscriber._skip_stale(None if is_not_before(before, queue_cut) else queue_cut)
        try:
            await self._tell_interrupt(cuts.last_cut(segment.ancestry))
        except (Exception, asyncio.CancelledError) as error:
            if self._is_being_ended():
                raise
            self._report_failure(error, -1, "on_interrupt()")
        # Ends of turns that waited for others, which this interruption has dropped.
        self._owe(self._turn_ends.cut(cuts))
        self._let_ends_leave()

    def _owe(self, ends: list[tuple[RuntimeData, list[Held]]]) -> None:
        """Has the main loop give these marks to the node."""
        self._due += [(partial(self._take_mark, mark), held, mark.origin) for mark, held in ends]
        self._owes = self._owes or bool(ends)

    async def _tell_interrupt(self, epoch: int) -> None:
        if not self._reports.are_wanted:
            await settled(self._node.on_interrupt(), "on_interrupt()")
            return
        tell: Callable[[Interruption], Any] = self._node.on_interrupt  # type: ignore[assignment]
        for report in await self._reports.up_to(epoch):
            await settled(tell(report), "on_interrupt()")

    async def _catch_up(self, epoch: int) -> int | None:
        """Begins the epoch that a message just taken shows, and all that follow meanwhile.

        The epoch in which the message is still of no cut; None if it is of one.
        """
        assert self._channels is not None
        cuts, lineage = self._channels.cuts, self._channels.segment.lineage
        while epoch != self._epoch or self._interrupts:
            await (self._acknowledge() if self._interrupts else self._begin_epoch(epoch))
            now = cuts.epoch
            if cuts.was_cut(epoch, lineage):
                return None
            epoch = now
        return epoch

    def _was_queued(self, stamp: int, epoch: int) -> bool:
        """Whether a message with that stamp, taken in that epoch, waited when the node was to drop what waits."""
        assert self._channels is not None
        queue_cut = self._channels.cuts.queue_cut(self._channels.segment.bit)
        return not (is_not_before(epoch, queue_cut) or is_not_before(stamp, queue_cut))

    def _ready(self) -> bool:
        if self._interrupts or self._owes:
            return True
        for subscriber in self._open:  # noqa: SIM110 - a generator would cost more than what it looks at
            if subscriber.ready():
                return True
        return False

    def _next_input(self) -> Subscriber | None:
        """The next input that has a message, in turn, so that a busy one cannot starve the others."""
        for _ in range(len(self._open)):
            subscriber = self._open.popleft()
            if subscriber.pending:
                self._open.append(subscriber)
                return subscriber
            if not subscriber.ended:
                self._open.append(subscriber)
            else:
                self._owe(self._turn_ends.end_input(subscriber))
        return None

    async def _handle(self, subscriber: Subscriber) -> None:
        assert self._channels is not None
        data = subscriber.try_receive()
        if data is None:
            return None  # skipped: an interruption has cut it off
        segment, epoch, published_ns = self._channels.segment, subscriber._last_epoch, subscriber._last_published_ns
        sequence, port = data.sequence, data.port
        self._origin = data.origin
        if epoch != self._epoch:
            stamp, before, current = subscriber._last_stamp, self._epoch, await self._catch_up(epoch)
            if current is None or self._was_queued(stamp, before):
                segment.end_turn()
                return None  # interrupted, before anything was done with it
            epoch = current
        self._call_epoch = epoch
        is_mark = data.type is _CONTROL
        if is_mark:
            ends = self._turn_ends.take(data, subscriber, segment, self._channels.cuts)
            if ends is None:  # by other inputs it is still to come
                return segment.count_processed(published_ns, segment.begin_processing(), False)
            self._ends = ends
            segment.gather(ends)
        failed = False
        self._node._status = NodeStatus.PROCESSING
        self._blocked_ns = 0
        started_ns = segment.begin_processing()
        try:
            self._in_user_code = True
            results = [self._take_mark(data) if is_mark else self._called.process(data)]
            # The node may keep the message; this loop must not, or its memory would wait for the next one.
            del data
            await self._emit_result(results, epoch)
        except asyncio.CancelledError as error:
            if self._is_being_ended():
                raise
            if not self._interrupts:  # a cancellation of the user's own making
                failed = True
                self._report_failure(error, sequence, port)
        except ChannelCorruptedError:
            raise  # no message will come through any more: see _Life.live
        except Exception as error:
            failed = True
            self._report_failure(error, sequence, port)
        finally:
            self._leave_user_code()
            # Waiting for room downstream is not this node's work.
            segment.count_processed(published_ns, started_ns + self._blocked_ns, failed)
            self._node._status = NodeStatus.READY
            if self._used or self._ends:
                self._end_call()

    def _take_mark(self, mark: RuntimeData) -> Any:
        """What the node makes of a mark. One that does not know marks passes it on, or reads it as it always has."""
        if self._knows_marks:
            if mark.mark != END_OF_TURN or self._node._relays_ends:
                return self._called.on_mark(mark)
            return with_its_end(partial(self._called.on_mark, mark), mark, self._may_leave, self._is_cut_short)
        if mark.mark == END_OF_TURN:
            return mark if self._may_leave(mark) else None
        samples = zero_samples(mark)
        return mark if samples is None else self._called.process(samples)

    def _may_leave(self, end: RuntimeData) -> bool:
        """Whether the end of a turn may go on now: not before what the node still keeps of that turn."""
        assert self._channels is not None
        return self._turn_ends.may_leave(end, self._held, self._channels.segment, self._call_epoch)

    def _end_call(self) -> None:
        """Lets go of what the call under way was made of beside its message."""
        self._held.end_call()
        for end in self._ends:
            end.release()
        self._ends = []
        self._let_ends_leave()

    def _let_ends_leave(self) -> None:
        """Has the main loop send the ends of turns of which the node keeps nothing any more."""
        assert self._channels is not None
        for mark, held in self._turn_ends.leaving(self._held, self._channels.segment):
            self._due.append((partial(_given, mark), [held], mark.origin))
        if self._due:
            self._owes = True
            self._channels.doorbell.wake()

    async def _run_later(self, hook: Callable[[], Any], of: list[Held], origin: int) -> None:
        """Sends what the hook gives, as made of these."""
        assert self._channels is not None
        segment = self._channels.segment
        self._call_epoch, self._origin = of[0].epoch, origin
        segment.descend_from(of[0])
        segment.gather(of)
        self._ends = of
        try:
            await self._run_hook(hook, -1, "on_mark()")
        finally:
            segment.end_turn()
            self._end_call()

    async def _finish(self) -> None:
        assert self._channels is not None
        # What finish() gives may be made of anything that came before.
        self._channels.segment.descend_from_all()
        self._held.release((), in_call=True)  # what finish() gives may be made of all of it
        self._channels.segment.gather(self._held.used)
        self._call_epoch = self._epoch  # not the epoch of now: what was gathered belongs to this one
        try:
            await self._run_hook(self._node.finish, -1, "finish()")
        finally:
            self._channels.segment.end_turn()
            self._turn_ends.drop_all()
            self._held.release((), in_call=True)
            self._end_call()

    async def _run_hook(self, hook: Callable[[], Any], sequence: int, port: str) -> None:
        """Sends what the hook gives, or reports what it raises."""
        assert self._channels is not None
        self._blocked_ns = 0
        started_ns = self._channels.segment.begin_processing()
        try:
            self._in_user_code = True
            await self._emit_result([hook()], self._call_epoch)
        except asyncio.CancelledError as error:
            if self._is_being_ended():
                raise
            if not self._interrupts:
                self._report_failure(error, sequence, port)
        except ChannelCorruptedError:
            raise
        except Exception as error:
            self._report_failure(error, sequence, port)
        finally:
            self._leave_user_code()
            self._channels.segment.count_busy(started_ns + self._blocked_ns)

    def _is_cut_short(self) -> bool:
        return bool(self._interrupts) or self._is_being_ended()

    def _is_being_ended(self) -> bool:
        if self._aborted:
            return True
        return not self._interrupts and self._task is not None and self._task.cancelling() > 0

    def _leave_user_code(self) -> None:
        self._in_user_code = False
        if self._interrupts and self._task is not None and not self._aborted:
            # The cancellation has done its work, even where the user's code swallowed it.
            while self._task.cancelling():
                self._task.uncancel()

    # --- output ---

    async def _emit_result(self, results: list[Any], epoch: int) -> None:
        """Takes the one result out of ``results`` and sends it: nothing here may still hold it when it is sent."""
        result = results.pop()
        # The common cases first: inspect and the abstract classes cost more than sending a message.
        kind = type(result)
        if kind is CoroutineType or (kind not in _NEVER_AWAITED and isawaitable(result)):
            result = await result
        if not (isinstance(result, RuntimeData) or result is None or isinstance(result, dict)):
            if isinstance(result, AsyncIterator):
                return await self._emit_stream(result, epoch)
            if isinstance(result, Iterator):
                return await self._emit_plain_stream(result, epoch)
        try:
            await self._emit(result, epoch, self._origin)  # raises for a wrong type
        finally:
            del result
            self._commit()

    async def _emit_stream(self, outputs: AsyncIterator[Any], epoch: int) -> None:
        async with AsyncExitStack() as stack:
            if isinstance(outputs, AsyncGenerator):
                await stack.enter_async_context(aclosing(outputs))
            async for output in outputs:
                if self._interrupts:
                    break  # the user's code swallowed the cancellation and goes on
                try:
                    await self._emit(output, epoch, self._origin)
                finally:
                    del output
                    self._commit()
                await self._rest()

    async def _emit_plain_stream(self, outputs: Iterator[Any], epoch: int) -> None:
        with closing(outputs) if isinstance(outputs, Generator) else nullcontext():
            for output in outputs:
                try:
                    await self._emit(output, epoch, self._origin)
                finally:
                    del output
                    self._commit()
                await self._rest()  # lets an interruption in: nothing else in this loop has to wait

    def _commit(self) -> None:
        """Sends the staged messages, now that this process has dropped the payloads that it passes on.

        So the next node is the only holder, and can write in place, however soon it looks, unless this node keeps the
        payload. Nothing may be awaited between staging and this.
        """
        if staged := self._staged:
            for producer in staged:
                producer.commit()
            staged.clear()

    async def _emit(self, output: Any, epoch: int, origin: int | Held | None) -> None:
        assert self._channels is not None
        if output is None:
            return
        if isinstance(output, RuntimeData):
            self._channels.segment.count_published()
            for channel in self._channels.outputs:
                if not self._offer(channel, output, epoch, "", origin):
                    await self._publish(channel, output, epoch, "", origin)
        elif isinstance(output, dict):
            for port, data in output.items():
                if data is None:
                    continue
                if not isinstance(port, str) or not isinstance(data, RuntimeData):
                    raise TypeError(
                        f"process() of node {self._node.node_id!r} gave {{{shown(port)}: {type(data).__name__}}}; "
                        f"a dict must hold RuntimeData by output port{advice_for(data)}"
                    )
                await self._emit_on(port, data, epoch, origin)
        else:
            raise TypeError(
                f"process() of node {self._node.node_id!r} gave {type(output).__name__}; it may give RuntimeData, "
                f"None, or a dict of RuntimeData by output port, and yield any number of them{advice_for(output)}"
            )

    async def _emit_on(self, port: str, data: RuntimeData, epoch: int, origin: int | Held | None) -> None:
        assert self._channels is not None
        channels = [c for c in self._channels.outputs if c.port in (port, "")]
        if not channels:
            if port in self._node.optional_outputs:
                return
            self._channels.segment.count_unrouted()
            if port not in self._unrouted:
                self._unrouted.add(port)
                known = ", ".join(sorted({c.port for c in self._channels.outputs})) or "none"
                missed = f"output port {port!r} is not connected, its data is dropped (connected: {known})"
                print(f"node {self._node.node_id!r}: {missed}")
            return
        self._channels.segment.count_published()
        # On an edge the receiving end knows its own port; only the session needs to learn which one this came from.
        for channel in channels:
            sent_port = "" if channel.port else port
            if not self._offer(channel, data, epoch, sent_port, origin):
                await self._publish(channel, data, epoch, sent_port, origin)

    def _offer(
        self, channel: OutputChannel, data: RuntimeData, epoch: int, port: str, origin: int | Held | None
    ) -> bool:
        """Whether that was all: sent at once, dropped, or nobody listens."""
        assert self._channels is not None
        try:
            if channel.publisher._offer(data, epoch=epoch, port=port, origin=origin, staged=self._staged):
                return True
        except ChannelClosedError:
            return True  # nobody downstream listens any more: the session is stopping
        if self._backpressure or data.type is _CONTROL:  # marks are not dropped
            return False
        channel.publisher._drop()
        self._channels.segment.count_dropped()
        return True

    async def _publish(
        self, channel: OutputChannel, data: RuntimeData, epoch: int, port: str, origin: int | Held | None
    ) -> None:
        """Waits for room."""
        self._commit()  # channels with room need not wait for this one
        since_ns = _ring.now_ns()
        try:
            await channel.publisher.publish_async(data, epoch=epoch, port=port, origin=origin, staged=self._staged)
        except ChannelClosedError:
            return
        finally:
            if asyncio.current_task() is self._task:  # what the node's own tasks wait takes nothing from process()
                self._blocked_ns += _ring.now_ns() - since_ns

    def _report_failure(self, error: BaseException, sequence: int, port: str) -> None:
        # Noted while the call has its share: the turn does not end before its failure is known.
        turns = self._channels.segment.fail_turn() if self._channels is not None and sequence >= 0 else []
        self._report(MessageFailed(*describe_failure(error), sequence, clip(port, _SHORT_CHARS), turns))


def _given(value: Any) -> Any:
    return value
