"""Pipecat: a pipeline of three processors for each caller, on the event loop of this process.

Frames are those of its transports, which every processor handles at once, before all others. What Pipecat adds to a
pipeline unless told otherwise (RTVI, the tracking of turns, a watch for silence) is turned off. Its log is, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from loguru import logger

logger.remove()  # before Pipecat says that it is there

from pipecat.frames.frames import Frame, InputAudioRawFrame  # noqa: E402
from pipecat.pipeline.pipeline import Pipeline  # noqa: E402
from pipecat.pipeline.worker import PipelineWorker  # noqa: E402
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor  # noqa: E402
from pipecat.workers.runner import WorkerRunner  # noqa: E402

from bench.capacity.callers import Line  # noqa: E402
from bench.capacity.host import Host  # noqa: E402
from bench.capacity.work import IN_RATE, OUT_RATE, STEPS, chunk, load_libraries, step  # noqa: E402


class _Processor(FrameProcessor):
    """Does its step's work on each frame of audio. The time stamp, ``pts``, is the chunk's number."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._work = step(name)
        self._changes = name == "resample"

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            samples = self._work(np.frombuffer(frame.audio, np.int16))
            if self._changes:
                number, frame = frame.pts, InputAudioRawFrame(samples.tobytes(), OUT_RATE, 1)
                frame.pts = number
        await self.push_frame(frame, direction)


class _Ear(FrameProcessor):
    """In the place of an output transport. It has no queue of its own."""

    def __init__(self) -> None:
        super().__init__(enable_direct_mode=True)
        self.heard: Callable[[int], None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            assert self.heard is not None and frame.pts is not None
            self.heard(frame.pts)
        else:
            await self.push_frame(frame, direction)


class PipecatHost(Host):
    """All pipelines under one runner, as a server has them."""

    async def set_up(self) -> None:
        self._runner_of_all = WorkerRunner(handle_sigint=False)
        self._running = asyncio.create_task(self._runner_of_all.run(auto_end=False))
        load_libraries()

    async def line(self, number: int) -> Line:
        ear = _Ear()
        worker = PipelineWorker(
            Pipeline([*(_Processor(name) for name in STEPS), ear]),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
            name=f"caller{number}",
        )
        line = _PipecatLine(worker, ear)
        await self._runner_of_all.add_workers(worker)
        return line

    async def tear_down(self) -> None:
        await self._runner_of_all.cancel()
        await self._running


class _PipecatLine:
    def __init__(self, worker: PipelineWorker, ear: _Ear) -> None:
        self._worker, self._ear = worker, ear
        self._audio = chunk().tobytes()

    async def send(self, number: int) -> None:
        frame = InputAudioRawFrame(self._audio, IN_RATE, 1)
        frame.pts = number
        await self._worker.queue_frame(frame)

    async def listen(self, heard: Callable[[int], None]) -> None:
        self._ear.heard = heard
        await asyncio.Event().wait()

    async def hang_up(self) -> None:
        await self._worker.cancel()
        await self._worker.wait()
