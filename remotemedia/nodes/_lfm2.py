"""LFM2-Audio by liquid-audio: text or speech is answered in text and speech, a token at a time."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from remotemedia._weights import LFM2_AUDIO, MIMI_FILE
from remotemedia.nodes._common import SPEECH_RATE, Float32
from remotemedia.nodes._conversation import Said, Token
from remotemedia.nodes._letters import Letters
from remotemedia.nodes._model import TorchModel

__all__ = ["ANSWER_RATE", "LFM2", "Prompt", "Step"]

ANSWER_RATE = 24_000

_FRAME_SECS = 0.08
# A code of no sound: the first of a frame if that has ended. Drawn by chance it may be any, and the frame is skipped.
_END_OF_SOUND = 2048
# Tokens of text that the library has by number: <|im_end|>, <|audio_start|>, <|text_end|>.
_END, _SOUND, _END_OF_TEXT = 7, 128, 130
# The encoder takes no less than nine frames of 10 ms.
_SHORTEST = SPEECH_RATE // 5
_OLDEST_PYTHON = (3, 12)
_NOTHING = np.empty(0, np.float32)


class Prompt(NamedTuple):
    """What is answered: all that was said, and the answers of which there are any; and how."""

    system: str
    exchanges: tuple[tuple[Said, tuple[Token, ...]], ...]
    text_only: bool
    max_new_tokens: int
    text_temperature: float
    text_top_k: int
    audio_temperature: float
    audio_top_k: int


class Step(NamedTuple):
    """A token, and what comes out with it: text, and sound, 24 kHz mono, shape (n,); either may be empty.

    The last step may be sound that was held back, without a token.
    """

    token: Token | None
    text: str
    sound: Float32


class _Parts(NamedTuple):
    network: Any
    processor: Any
    voice: _Voice
    dtype: Any


class LFM2(TorchModel[Prompt, Step]):
    """Gives a step per token, and can be left before each."""

    library = "liquid-audio"
    modules = ("torch", "liquid_audio")
    extra = "lfm2"
    form = LFM2_AUDIO
    on_gpu = "bfloat16"
    _folder: Path

    def check_installed(self) -> None:
        if sys.version_info < _OLDEST_PYTHON:
            raise ImportError(
                f"{type(self._node).__name__} needs liquid-audio, which needs Python 3.12 or newer; this is "
                f"{sys.version_info[0]}.{sys.version_info[1]}. A node can have an interpreter of its own: "
                "docs/configuration.md",
                name="liquid_audio",
            )
        super().check_installed()

    def _load(self, folder: Path) -> None:
        self._folder = folder
        # The library would compile a few lines of its decoder at the first answer, for which it waits.
        os.environ.setdefault("NO_TORCH_COMPILE", "1")
        super()._load(folder)

    def _place(self, device: str, compute_type: str) -> tuple[str, str]:
        placed = super()._place(device, compute_type)
        needs_gpu = not self._node.config["text_only"] and not (self._folder / MIMI_FILE).exists()
        if placed[0] == "cpu" and needs_gpu:
            raise self._impossible(
                "model",
                f"{self.library} runs the voice of {self._node.config['model']!r} on a CUDA device alone, and this "
                'process is to use none; take "LFM2-Audio-1.5B", or text_only',
            )
        return placed

    def _open(self, folder: Path, device: str, compute_type: str) -> _Parts:
        import torch
        from liquid_audio import LFM2AudioModel, LFM2AudioProcessor
        from transformers.utils import logging

        logging.set_verbosity_error()
        if threads := self._node.config["cpu_threads"]:
            torch.set_num_threads(threads)
        dtype = getattr(torch, compute_type)
        # A Path: it takes a str for a name on the Hub, and would fetch it.
        processor = LFM2AudioProcessor.from_pretrained(folder, device=device).eval()
        network = LFM2AudioModel.from_pretrained(folder, device=device, dtype=dtype).eval()
        voice: _Voice = _Silent()
        if not self._node.config["text_only"]:
            is_mimi = processor.mimi_weights_path is not None
            voice = _Mimi(processor.mimi.eval()) if is_mimi else _Detokenizer(processor.audio_detokenizer)
        return _Parts(network, processor, voice, dtype)

    def _make(self, given: Prompt, tell: Callable[[Step], None]) -> None:
        import torch

        network, processor, voice, _ = self._model
        letters = Letters(partial(processor.text.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        last = (_END, _END_OF_TEXT, _SOUND) if given.text_only else (_END,)
        generate = network.generate_sequential if given.text_only else network.generate_interleaved
        with torch.no_grad(), voice.speaking():
            for codes in generate(
                **self._chat(given),
                max_new_tokens=given.max_new_tokens,
                text_temperature=float(given.text_temperature) or None,
                text_top_k=given.text_top_k or None,
                audio_temperature=float(given.audio_temperature) or None,
                audio_top_k=given.audio_top_k or None,
            ):
                numbers = tuple(codes.tolist())
                if len(numbers) == 1:
                    if numbers[0] in last:
                        break
                    text = "" if numbers[0] == _END_OF_TEXT else letters.completed_by(numbers[0])
                    tell(Step(Token(numbers, len(text), 0.0), text, _NOTHING))
                elif _END_OF_SOUND in numbers:
                    tell(Step(Token(numbers, 0, 0.0), "", _NOTHING))
                else:
                    tell(Step(Token(numbers, 0, _FRAME_SECS), "", voice.sound_of(codes)))
            if (rest := voice.rest()).size:
                tell(Step(None, "", rest))

    def _chat(self, given: Prompt) -> Any:
        """The prompt as the library takes it."""
        import torch
        from liquid_audio import ChatState

        network, processor, _, dtype = self._model
        chat = ChatState(processor, codebooks=network.codebooks, dtype=dtype)
        chat.new_turn("system")
        chat.add_text(given.system)
        chat.end_turn()
        for said, answer in given.exchanges:
            chat.new_turn("user")
            if isinstance(said, str):
                chat.add_text(said.replace("<|", "< |"))  # no special tokens: what a user types ends no turn
            else:
                padded = np.pad(said, (0, max(0, _SHORTEST - len(said))))
                chat.add_audio(torch.from_numpy(padded)[None], SPEECH_RATE)
            chat.end_turn()
            if answer:
                chat.new_turn("assistant")
                _append(chat, answer)
                chat.end_turn()
        chat.new_turn("assistant")
        return chat


def _append(chat: Any, answer: tuple[Token, ...]) -> None:
    import torch
    from liquid_audio import LFMModality

    text = [token.codes for token in answer if token.is_text]
    sound = [token.codes for token in answer if not token.is_text]
    kinds = [LFMModality.TEXT if token.is_text else LFMModality.AUDIO_OUT for token in answer]
    chat.append(
        text=torch.tensor(text, dtype=torch.long).reshape(-1, 1).T,
        audio_out=torch.tensor(sound, dtype=torch.long).reshape(-1, chat.codebooks).T,
        modality_flag=torch.tensor(kinds, dtype=torch.long),
    )


class _Voice(ABC):
    """Makes sound of frames of codes, answer by answer."""

    @abstractmethod
    def speaking(self) -> AbstractContextManager[None]:
        """What ``sound_of`` and ``rest`` are called in: one answer."""

    @abstractmethod
    def sound_of(self, codes: Any) -> Float32:
        """What the next frame brings out."""

    def rest(self) -> Float32:
        """What was held back."""
        return _NOTHING


class _Silent(_Voice):
    def speaking(self) -> AbstractContextManager[None]:
        return nullcontext()

    def sound_of(self, codes: Any) -> Float32:
        return _NOTHING


class _Mimi(_Voice):
    """Decodes as a stream: what a frame sounds like depends on those before it, so that there is no seam."""

    def __init__(self, mimi: Any) -> None:
        self._mimi = mimi

    @contextmanager
    def speaking(self) -> Iterator[None]:
        with self._mimi.streaming(1):
            yield

    def sound_of(self, codes: Any) -> Float32:
        return _samples(self._mimi.decode(codes[None, :, None])[0, 0])


class _Detokenizer(_Voice):
    """LFM2.5's, which knows no streams: for each piece it decodes the answer up to here again, and what is new of it is
    given, but for the end, which the next frame changes."""

    _FRAMES = 6
    _CHANGES = 480  # samples: (window - hop) / 2 of its inverse transform

    def __init__(self, detokenizer: Any) -> None:
        self._detokenizer = detokenizer
        self._frames: list[Any] = []
        self._given = 0

    @contextmanager
    def speaking(self) -> Iterator[None]:
        self._frames, self._given = [], 0
        yield

    def sound_of(self, codes: Any) -> Float32:
        self._frames.append(codes)
        return self._new(self._CHANGES) if len(self._frames) % self._FRAMES == 0 else _NOTHING

    def rest(self) -> Float32:
        return self._new(0) if self._frames else _NOTHING

    def _new(self, held_back: int) -> Float32:
        import torch

        decoded = self._detokenizer(torch.stack(self._frames, 1)[None])[0]
        new = decoded[self._given : len(decoded) - held_back]
        self._given += len(new)
        return _samples(new)


def _samples(sound: Any) -> Float32:
    samples: Float32 = sound.float().cpu().numpy().clip(-1, 1)
    return samples
