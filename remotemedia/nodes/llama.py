"""LlamaNode: a language model of your own answers, while it thinks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.marks import END_OF_ANSWER
from remotemedia.core.multiprocessing import Interruption, MultiprocessNode, Param, register_node
from remotemedia.nodes._common import text_of
from remotemedia.nodes._dialogue import Dialogue
from remotemedia.nodes._llama import Llama

__all__ = ["LlamaNode"]


@register_node("LlamaNode")
class LlamaNode(MultiprocessNode):
    """Converses with a language model in a GGUF file, run by llama.cpp.

    Ports: input ``text`` (TEXT, also called ``input`` and ``text_in``): what the user says, blank text is nothing;
    output ``text`` (TEXT, also called ``output`` and ``text_out``): the answer in pieces as they are made, and then a
    mark (END_OF_ANSWER).

    The model is given the last ``max_history`` exchanges each time, fewer if they are too long for it. A mark named
    "reset" forgets them. After an interruption the history has of each answer what was heard: docs/conversation.md.

    The conversation is written as the file's own template has it. For a file without one the model goes on with a
    transcript, a line for each side, and an answer is one line.

    The model runs in a thread. An interruption is acknowledged at once, and nothing of the answer comes out any more;
    the model ends its token. A message that fails leaves no trace in the history.
    """

    params = {
        "model": Param(str, help="path of a .gguf file, its name in MODELS_DIR, OWNER/NAME/FILE.gguf, or gemma-3-270m"),
        "models_dir": Param(str, "", help="folder in which MODEL is looked for first"),
        "system_prompt": Param(str, "", help="what the model is told first"),
        "chat_template": Param(str, "", help='how a conversation is written, in Jinja; "": as the file says'),
        "max_history": Param(int, 20, low=0, help="exchanges that are remembered"),
        "max_new_tokens": Param(int, 256, low=1, help="of an answer"),
        "context_tokens": Param(int, 4096, low=128, help="of a prompt and its answer; they cost memory"),
        "temperature": Param(float, 0.0, low=0, high=10, help="0: always the likeliest token"),
        "top_k": Param(int, 40, low=0, help="likeliest tokens that are drawn from; 0: all"),
        "top_p": Param(float, 0.95, low=0, high=1, help="together so likely are those that are drawn from"),
        "repeat_penalty": Param(float, 1.0, low=0.1, high=10, help="above 1: what was said lately becomes less likely"),
        "seed": Param(int, 1, low=0, high=4_294_967_294, help="of what is drawn"),
        "device": Param(
            str, "auto", choices=("auto", "cpu", "cuda"), help="auto: a GPU if the library is built for it"
        ),
        "cpu_threads": Param(int, 0, low=0, help="threads that compute on a CPU; 0: the node's share of the cores"),
    }
    inputs = {"text": DataType.TEXT}
    outputs = {"text": DataType.TEXT}
    port_aliases = {"input": "text", "text_in": "text", "output": "text", "text_out": "text"}

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self._dialogue = Dialogue(self.config["max_history"])
        self._llama = Llama(self)

    async def initialize(self) -> None:
        """Load the model, in a thread.

        Raises:
            ImportError: a library is missing; it says what to install.
            FileNotFoundError: the file was not found; it says where it looked, and how to get it.
            ValueError: there is no such model, it is not a GGUF file, or the machine has no such device.
        """
        self._llama.check_installed()
        await self._llama.load_named(self.config["model"], self.config["models_dir"])

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        """Yield the answer while it is made; TypeError for anything but text, ValueError if it is too long."""
        said = text_of(self, data).strip()
        if not said:
            return
        exchange = self._dialogue.begin(said, data.timestamp)
        try:
            messages = self._dialogue.messages(self.config["system_prompt"])
            async with aclosing(self._llama.made(messages)) as pieces:
                async for piece in pieces:
                    exchange.answer += piece
                    yield RuntimeData.text(piece, timestamp=data.timestamp)
        except Exception:
            self._dialogue.take_back(exchange)
            raise
        yield RuntimeData.control(END_OF_ANSWER, timestamp=data.timestamp)

    async def on_mark(self, mark: RuntimeData) -> RuntimeData | None:
        """Forget the conversation at a "reset"; pass on all marks but the end of another's answer."""
        if mark.mark == "reset":
            self._dialogue.clear()
        return None if mark.mark == END_OF_ANSWER else mark

    async def on_interrupt(self, report: Interruption) -> None:  # type: ignore[override]
        """Forget of the answers what was not heard."""
        self._dialogue.cut(report)

    async def cleanup(self) -> None:
        """Let the model go; waits for its token, if an answer is cut off."""
        await self._llama.close()
