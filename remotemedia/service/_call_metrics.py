"""How long a call took, and for what."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import remotemedia_v1_pb2 as pb

from remotemedia.core.multiprocessing import Session

__all__ = ["Clock", "StreamCounters", "execution_metrics"]

_REMEMBERED = 1024
_CHUNKS_PER_LOOK = 100


class Clock:
    """Runs from when it is made.

    Attributes:
        reading_secs, writing_secs: what making data of buffers took so far, and buffers of data.
        kinds: how many buffers of each kind came in.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.reading_secs = 0.0
        self.writing_secs = 0.0
        self.kinds: Counter[str] = Counter()

    @property
    def secs(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    def count(self, kind: str) -> None:
        """One more buffer of this kind. There are two forms of a tensor."""
        self.kinds["tensor" if kind == "numpy" else kind] += 1

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around the decoding of buffers."""
        since = time.monotonic()
        yield
        self.reading_secs += time.monotonic() - since

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around the encoding of buffers."""
        since = time.monotonic()
        yield
        self.writing_secs += time.monotonic() - since


def execution_metrics(session: Session, clock: Clock) -> pb.ExecutionMetrics:
    """The figures of a call, taken while its processes are still there."""
    used = session.get_metrics()
    return pb.ExecutionMetrics(
        wall_time_ms=clock.secs * 1000,
        cpu_time_ms=used.cpu_secs * 1000,
        memory_used_bytes=int(used.memory_mb * 1_000_000),
        serialization_time_ms=(clock.reading_secs + clock.writing_secs) * 1000,
        proto_to_runtime_ms=clock.reading_secs * 1000,
        runtime_to_proto_ms=clock.writing_secs * 1000,
        data_type_breakdown=clock.kinds,
        node_metrics={
            stats.node_id: pb.NodeMetrics(
                execution_time_ms=stats.busy_secs * 1000,
                memory_bytes=int(used.nodes[stats.node_id].memory_mb * 1_000_000),
                items_processed=stats.messages,
                first_outputs=stats.first_outputs,
                first_output_p50_secs=stats.first_output_p50_secs,
                first_output_p95_secs=stats.first_output_p95_secs,
                first_output_p99_secs=stats.first_output_p99_secs,
            )
            for stats in session.node_stats()
        },
    )


class StreamCounters:
    """What a stream counts.

    Attributes:
        clock: since the stream began.
        dropped: chunks that found no room.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.dropped = 0
        self._accepted = 0
        self._results = 0
        self._latency_sum_secs = 0.0
        self._peak_bytes = 0
        # By the number of the chunk; for outputs that come later than that many chunks, no time is given.
        self._begun: OrderedDict[int, float] = OrderedDict()

    def accept(self) -> int:
        """One more chunk; how many by now."""
        self._accepted += 1
        return self._accepted

    def begin(self, number: int) -> None:
        """The chunk of this number goes into the pipeline."""
        self._begun[number] = time.monotonic()
        self._begun.move_to_end(number)
        if len(self._begun) > _REMEMBERED:
            self._begun.popitem(last=False)

    def result(self, number: int) -> tuple[float, int]:
        """One more output, made of the chunk of this number: milliseconds since then, and how many outputs by now."""
        self._results += 1
        since = self._begun.get(number)
        secs = 0.0 if since is None else time.monotonic() - since
        self._latency_sum_secs += secs
        return secs * 1000, self._results

    def metrics(self, session: Session) -> pb.StreamMetrics:
        """The figures so far. The memory of the processes is looked up at some calls only: it takes a while."""
        if self._accepted % _CHUNKS_PER_LOOK == 0 or not self._peak_bytes:
            self._peak_bytes = max(self._peak_bytes, int(session.get_metrics().memory_mb * 1_000_000))
        return pb.StreamMetrics(
            session_id=session.session_id,
            chunks_processed=self._accepted,
            average_latency_ms=self._latency_sum_secs / self._results * 1000 if self._results else 0.0,
            total_items=self._results,
            buffer_items=sum(stats.current_occupancy for stats in session.channel_stats()),
            chunks_dropped=self.dropped,
            peak_memory_bytes=self._peak_bytes,
            data_type_breakdown=self.clock.kinds,
        )
