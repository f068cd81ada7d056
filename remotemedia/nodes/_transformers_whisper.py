"""Whisper by transformers."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from remotemedia._weights import TRANSFORMERS
from remotemedia.nodes._common import SPEECH_RATE, Float32
from remotemedia.nodes._model import Stopped, TorchModel
from remotemedia.nodes._whisper import SEED, TEMPERATURES, Options, Recogniser, Segment, Speech, Word

__all__ = ["TransformersWhisper"]


class _Model(NamedTuple):
    network: Any
    processor: Any
    device: str


class TransformersWhisper(Recogniser, TorchModel[Speech, Segment]):
    """Can be left before each token; all segments of an utterance come at its end."""

    library = "transformers"
    modules = ("torch", "transformers")
    extra = "transformers"
    form = TRANSFORMERS

    def _open(self, folder: Path, device: str, compute_type: str) -> _Model:
        import torch
        from transformers import WhisperForConditionalGeneration, WhisperProcessor
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        if threads := self._node.config["cpu_threads"]:
            torch.set_num_threads(threads)
        network = WhisperForConditionalGeneration.from_pretrained(
            folder,
            dtype=getattr(torch, compute_type),
            local_files_only=True,
            use_safetensors=True,  # the other form of weights can hold a program
            attn_implementation="eager",  # the one that tells which sound belongs to which word
        ).to(device)
        _keep_no_speech_prob(network)
        processor = WhisperProcessor.from_pretrained(folder, local_files_only=True)
        known = getattr(network.generation_config, "lang_to_id", None) or {"<|en|>": 0}
        self.languages = [token.strip("<|>") for token in known]
        return _Model(network, processor, device)

    def _segments(self, samples: Float32, options: Options) -> Iterator[Segment]:
        import torch

        network, processor, device = self._model
        given = processor(
            samples,
            sampling_rate=SPEECH_RATE,
            truncation=False,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        ).to(device, network.dtype)
        language = {} if len(self.languages) == 1 else {"language": options.language, "task": options.task}
        torch.manual_seed(SEED)
        found = network.generate(
            **given,
            **language,
            num_beams=options.beam_size,
            temperature=TEMPERATURES,
            condition_on_prev_tokens=False,
            no_speech_threshold=options.no_speech_threshold,
            logprob_threshold=options.log_prob_threshold,
            compression_ratio_threshold=options.compression_ratio_threshold,
            return_timestamps=True,
            return_token_timestamps=True,
            return_segments=True,
            return_dict_in_generate=True,
            output_scores=True,
            stopping_criteria=[self._leave_if_stopped],
        )
        for one in found["segments"][0]:
            yield self._segment(one, len(samples) / SPEECH_RATE)

    def _leave_if_stopped(self, tokens: Any, scores: Any, **more: Any) -> Any:
        """Asked before each token, whether it is the last."""
        import torch

        if self._stop.is_set():
            raise Stopped
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

    def _segment(self, one: dict[str, Any], length_secs: float) -> Segment:
        import torch

        tokenizer, tokens, window = self._model.processor.tokenizer, one["tokens"].cpu(), one["result"]
        # The scores begin after the prompt. Those of a beam are log-probabilities plus what the beam had before.
        prompt = window["sequences"][: len(window["sequences"]) - len(window["scores"])].tolist()
        begin = one["idxs"][0] - len(prompt)
        scores = torch.stack(list(window["scores"][begin : begin + len(tokens)])).float()
        log_probs = torch.log_softmax(scores, dim=-1).gather(-1, tokens[:, None])[:, 0]
        said = tokens < tokenizer.eos_token_id
        # When each token ends. The library looks at 30 s, of which the samples may be only the beginning.
        times = [float(one["start"]), *one["token_timestamps"].cpu()[said].tolist()]
        times = [min(time, length_secs) for time in times]
        said_tokens, probabilities = tokens[said].tolist(), log_probs[said].exp().tolist()
        text = tokenizer.decode(said_tokens)
        return Segment(
            text=text,
            words=[
                Word(word, times[at[0]], times[at[-1] + 1], sum(probabilities[n] for n in at) / len(at))
                for word, at in self._words(said_tokens, prompt)
            ],
            compression_ratio=len(text.encode()) / len(zlib.compress(text.encode())),
            no_speech_prob=window["no_speech_prob"],
            avg_logprob=float(log_probs.mean()),
        )

    def _words(self, tokens: list[int], prompt: list[int]) -> Iterator[tuple[str, list[int]]]:
        """Each word, and which of the tokens it is made of; the prompt tells the language."""
        # What its pipelines group words with: some languages have no spaces, and punctuation belongs to a word.
        from transformers.models.whisper.tokenization_whisper import LANGUAGES, _combine_tokens_into_words

        tokenizer = self._model.processor.tokenizer
        codes = (token.strip("<|>") for token in tokenizer.convert_ids_to_tokens(prompt))
        language = next((LANGUAGES[code] for code in codes if code in LANGUAGES), "english")
        words, _, indices = _combine_tokens_into_words(tokenizer, tokens, language)
        yield from zip(words, indices, strict=True)


def _keep_no_speech_prob(network: Any) -> None:
    """The library drops what is probably no speech by this figure, and does not give it: see WhisperNode._is_speech."""
    from transformers.generation.logits_process import WhisperNoSpeechDetection

    decide = network._need_fallback

    def decide_and_keep(tokens: Any, windows: Any, index: int, processors: Any, *more: Any) -> Any:
        detector = next(one for one in processors if isinstance(one, WhisperNoSpeechDetection))
        windows[index]["no_speech_prob"] = float(detector.no_speech_prob[index])
        return decide(tokens, windows, index, processors, *more)

    network._need_fallback = decide_and_keep
