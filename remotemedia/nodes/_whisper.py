"""What runs Whisper: utterances become segments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import NamedTuple

from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._common import Float32
from remotemedia.nodes._model import Model

__all__ = ["SEED", "TEMPERATURES", "Options", "Recogniser", "Segment", "Word"]

SEED = 1
"""Decoding may sample; the same utterance gives the same words all the same."""

TEMPERATURES = (0.0, 0.4)
"""Greedy or beam search first. Where its words repeat themselves or are improbable, one more attempt, by sampling.

The libraries make five. On sounds other than speech that takes ten times as long, and finds nothing either.
"""


class Options(NamedTuple):
    """How to decode: the node's params of these names."""

    language: str | None
    task: str
    beam_size: int
    no_speech_threshold: float
    log_prob_threshold: float
    compression_ratio_threshold: float


class Word(NamedTuple):
    """A word of a segment: its text, its times in seconds of the utterance, how probable it is."""

    word: str
    start: float
    end: float
    probability: float


class Segment(NamedTuple):
    """What Whisper takes for one piece of speech, with its own measures of how sure it is."""

    text: str
    words: list[Word]
    compression_ratio: float
    no_speech_prob: float
    avg_logprob: float


class Speech(NamedTuple):
    """What is decoded: 16 kHz mono float32, and how."""

    samples: Float32
    options: Options


class Recogniser(Model[Speech, Segment]):
    """Whisper, as a library runs it.

    Attributes:
        languages: the codes of those that the model knows, once it is loaded.
    """

    def __init__(self, node: MultiprocessNode) -> None:
        super().__init__(node)
        self.languages: list[str] = []

    @abstractmethod
    def _segments(self, samples: Float32, options: Options) -> Iterator[Segment]:
        """Decodes; raises Stopped soon after ``_stop`` is set."""

    def _make(self, given: Speech, tell: Callable[[Segment], None]) -> None:
        for segment in self._segments(*given):
            tell(segment)

    def segments(self, samples: Float32, options: Options) -> AsyncGenerator[Segment]:
        """Yield the segments of an utterance as they are decoded: see ``Model.made``."""
        return self.made(Speech(samples, options))
