"""The model nodes of ``test_seed_models.py``: ours, with models made up so small that a test can run them, and so
untrained that they would not stop by themselves.

liquid-audio has no release for Python 3.11. In an environment without it LFM2AudioNode is ours all the same; only the
library is a stand-in, which repeats what was said.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from remotemedia.core.multiprocessing import Param, register_node
from remotemedia.nodes import LFM2AudioNode, VibeVoiceNode
from remotemedia.nodes._conversation import Token
from remotemedia.nodes._lfm2 import LFM2, Prompt, Step

_FRAME = np.sin(np.arange(1920) / 24_000 * 2 * np.pi * 300).astype(np.float32) * 0.5


@register_node("vibe_voice")
@register_node("VibeVoiceNode")
class SmallVibeVoiceNode(VibeVoiceNode):
    """Hums for 0.4 s a text."""

    params = {
        **VibeVoiceNode.params,
        "max_secs": Param(float, 0.4, low=0.2, high=5400),
        "diffusion_steps": Param(int, 2, low=1, high=1000),
        "cpu_threads": Param(int, 1, low=0),
    }


@register_node("lfm2_audio")
@register_node("LFM2Node")
@register_node("LFM2AudioNode")
class SmallLFM2AudioNode(LFM2AudioNode):
    """Says 40 tokens an answer, always the likeliest."""

    params = {
        **LFM2AudioNode.params,
        "max_new_tokens": Param(int, 40, low=1),
        "audio_temperature": Param(float, 0.0, low=0),
        "cpu_threads": Param(int, 1, low=0),
    }

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        if importlib.util.find_spec("liquid_audio") is None:
            self._lfm2 = _Echo(self)

    async def initialize(self) -> None:
        """Load the model."""
        if not isinstance(self._lfm2, _Echo):
            from tests.nodes._tiny_lfm2 import shrink_mimi

            shrink_mimi()
        await super().initialize()


class _Echo(LFM2):
    """In the place of liquid-audio: the text again, word by word, and 80 ms of sound after each."""

    modules = ("numpy",)

    def check_installed(self) -> None:
        pass

    def _place(self, device: str, compute_type: str) -> tuple[str, str]:
        return "cpu", "float32"

    def _open(self, folder: Path, device: str, compute_type: str) -> Any:
        return None

    def _make(self, given: Prompt, tell: Callable[[Step], None]) -> None:
        said = given.exchanges[-1][0]
        for number, word in enumerate(f"You said: {said}. Or did you?".split()):
            text = f"{word} "
            tell(Step(Token((200,), len(text), 0.0), text, np.empty(0, np.float32)))
            tell(Step(Token((1, 2), 0, 0.08), "", _FRAME / (number + 1)))
