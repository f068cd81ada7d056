"""SentenceNode: the words of a language model become sentences, for a voice to speak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import END_OF_ANSWER, END_OF_TURN
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node
from remotemedia.nodes._common import import_library, text_of
from remotemedia.nodes._sentences import Sentences

__all__ = ["SentenceNode"]


@register_node("SentenceNode")
class SentenceNode(MultiprocessNode):
    """Gathers pieces of text into sentences, as sentencex finds them.

    Ports: input ``text`` (TEXT, also called ``input`` and ``text_in``): pieces of any length, which are joined as they
    are; output ``text`` (TEXT, also called ``output`` and ``text_out``): a sentence each, no white space around it.

    A sentence comes out when the first letter of the next one shows that it has ended. The rest comes out at the end of
    an answer (END_OF_ANSWER, as ChatNode and LlamaNode send it), of a turn and of the stream. Both marks are passed on.

    So that a voice can begin early, the first sentence of an answer is cut at the end of a clause once that has
    ``clause_chars`` characters. A sentence of more than ``most_chars`` is cut at a space. What comes out depends on the
    text alone, not on its pieces.
    """

    params = {
        "language": Param(str, "en", help="code of the language"),
        "clause_chars": Param(
            int, 40, low=0, help="shortest clause that the first sentence is cut after; 0: it is not"
        ),
        "most_chars": Param(int, 400, low=20, help="of a sentence"),
    }
    inputs = {"text": DataType.TEXT}
    outputs = {"text": DataType.TEXT}
    port_aliases = {"input": "text", "text_in": "text", "output": "text", "text_out": "text"}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._library: Any = None
        self._sentences = Sentences(self._cut, self.config["clause_chars"], self.config["most_chars"])

    async def initialize(self) -> None:
        """Load the library; ImportError if it is not installed."""
        self._library = import_library(self, "sentencex", "sentences")

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the sentences that ``data`` completes; TypeError for anything but text."""
        text = text_of(self, data)
        self.release()
        for sentence in self._sentences.add(text):
            yield RuntimeData.text(sentence, timestamp=data.timestamp)
        if self._sentences.waits:
            self.hold(data)

    async def on_mark(self, mark: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield what waits, if an answer or a turn ends here; then the mark."""
        if mark.mark in (END_OF_ANSWER, END_OF_TURN):
            self.release()
            for sentence in self._sentences.end():
                yield RuntimeData.text(sentence, timestamp=mark.timestamp)
        yield mark

    async def finish(self) -> AsyncIterator[RuntimeData]:
        """Yield what waits."""
        for sentence in self._sentences.end():
            yield RuntimeData.text(sentence)

    async def on_interrupt(self) -> None:
        """Forget what waits."""
        self._sentences.clear()

    async def cleanup(self) -> None:
        """Nothing to release."""

    def _cut(self, text: str) -> list[str]:
        return list(self._library.segment(self.config["language"], text))
