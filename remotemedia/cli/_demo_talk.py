"""What the demo's pipeline is fed, and who takes what comes out of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence

from remotemedia.cli._demo_screen import DemoScreen
from remotemedia.cli._drafts import Draft
from remotemedia.cli._job import Sink
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import END_OF_ANSWER

__all__ = ["Answer", "Handler", "Prepared", "Talk"]


class Prepared:
    """A source that is in memory."""

    warning = None

    def __init__(self, name: str, unit: str, messages: Sequence[tuple[RuntimeData, float]]) -> None:
        self.name = name
        self.unit = unit
        self.total: float | None = messages[-1][1]
        self._messages = messages

    async def messages(self) -> AsyncGenerator[tuple[RuntimeData, float], None]:
        for message in self._messages:
            yield message

    def close(self) -> None:
        pass


class Handler(Sink):
    """Hands each message of a node to a function."""

    def __init__(self, node_id: str, handle: Callable[[RuntimeData], None]) -> None:
        super().__init__(node_id)
        self._handle = handle

    async def take(self, data: RuntimeData) -> None:
        self._handle(data)


class Talk:
    """What was heard, and the answer to each of it.

    Args:
        in_parts: an answer may be several texts, and ends with a mark.
    """

    def __init__(self, screen: DemoScreen, *, in_parts: bool) -> None:
        self.transcript: list[str] = []
        self.replies: list[str] = []
        self._in_parts = in_parts
        self._early: list[str | None] = []
        self._ended = 0
        self._screen = screen

    def hear(self, data: RuntimeData) -> None:
        """The words of an utterance, those so far, or what is known of each: the port says which."""
        text = str(data.payload)
        if data.port == "partial":
            self._screen.partial(text)
        elif data.port == "text":
            self.transcript.append(text)
            self._screen.heard(text)
            self._match()

    def reply(self, data: RuntimeData) -> None:
        """Two channels, two processes: a reply may be here before the words it replies to."""
        if not data.mark:
            self._early.append(str(data.payload))
        if data.mark == END_OF_ANSWER if self._in_parts else not data.mark:
            self._early.append(None)
        self._match()

    def _match(self) -> None:
        while self._early and self._ended < len(self.transcript):
            part = self._early.pop(0)
            if len(self.replies) == self._ended:
                self.replies.append("")
            if part is None:
                self._ended += 1
            else:
                self.replies[-1] = f"{self.replies[-1]} {part}".lstrip()
                self._screen.replied(part)


class Answer(Sink):
    """The file that the last node writes: kept if there was a reply and the file has sound in it."""

    def __init__(self, file: str, draft: Draft, talk: Talk) -> None:
        super().__init__("write", file=file)
        self.draft = draft
        self._talk = talk

    async def finish(self) -> bool:
        if any(self._talk.replies):
            import soundfile  # here: _check says it better if it is missing

            info = soundfile.info(self.draft.path)
            self.secs = info.frames / info.samplerate
        return self.secs > 0

    def keep(self) -> None:
        if self.secs:
            self.draft.keep()
