"""VibeVoice by transformers: a text becomes speech, a step of the model at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from remotemedia._weights import VIBEVOICE
from remotemedia.nodes._common import Float32
from remotemedia.nodes._model import Stopped, TorchModel

__all__ = ["VIBEVOICE_RATE", "Text", "VibeVoice"]

VIBEVOICE_RATE = 24_000

SEED = 1
"""The model samples; the same text in the same voice gives the same speech all the same."""

_STEPS_PER_SEC = 7.5


class Text(NamedTuple):
    """What is spoken: the words, a recording of the voice (24 kHz mono; None: the model's own), and how."""

    words: str
    voice: Float32 | None
    guidance_scale: float
    diffusion_steps: int
    max_secs: float


class _Parts(NamedTuple):
    network: Any
    processor: Any
    device: str


class VibeVoice(TorchModel[Text, Float32]):
    """Gives 133 ms of speech per step, shape (3200,), and can be left before each."""

    library = "transformers"
    modules = ("torch", "transformers", "diffusers")
    extra = "vibevoice"
    form = VIBEVOICE
    on_gpu = "bfloat16"

    def _open(self, folder: Path, device: str, compute_type: str) -> _Parts:
        import torch
        from transformers import VibeVoiceForConditionalGeneration, VibeVoiceProcessor
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        if threads := self._node.config["cpu_threads"]:
            torch.set_num_threads(threads)
        network = VibeVoiceForConditionalGeneration.from_pretrained(
            folder,
            dtype=getattr(torch, compute_type),
            local_files_only=True,
            use_safetensors=True,  # the other form of weights can hold a program
        ).to(device)
        processor = VibeVoiceProcessor.from_pretrained(folder, local_files_only=True)
        return _Parts(network, processor, device)

    def _make(self, given: Text, tell: Callable[[Float32], None]) -> None:
        import torch

        network, processor, device = self._model

        def take(_: Any, inputs: tuple[Any, ...]) -> None:
            # What the model is to hear of its own speech, before the next step: the library gives it all at the end.
            tell(inputs[0][0, 0].float().cpu().numpy().clip(-1, 1))

        hook = network.model.semantic_tokenizer_encoder.register_forward_pre_hook(take)
        torch.manual_seed(SEED)
        try:
            network.generate(
                **self._inputs(processor, given).to(device, network.dtype),
                guidance_scale=given.guidance_scale,
                num_diffusion_steps=given.diffusion_steps,
                max_new_tokens=max(1, round(given.max_secs * _STEPS_PER_SEC)),
                stopping_criteria=[self._leave_if_stopped],
            )
        finally:
            hook.remove()

    def _inputs(self, processor: Any, given: Text) -> Any:
        content: list[dict[str, Any]] = [{"type": "text", "text": given.words}]
        if given.voice is not None:
            content.append({"type": "audio", "audio": np.asarray(given.voice)})
        return processor.apply_chat_template(
            [{"role": "0", "content": content}],
            tokenize=True,
            return_dict=True,
            processor_kwargs={"return_tensors": "pt", "sampling_rate": VIBEVOICE_RATE},
        )

    def _leave_if_stopped(self, tokens: Any, scores: Any, **more: Any) -> Any:
        """Asked before each step, whether it is the last."""
        import torch

        if self._stop.is_set():
            raise Stopped
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
