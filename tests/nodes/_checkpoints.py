"""Checkpoints as transformers reads them: Whisper's tiny.en converted from CTranslate2's form, and made-up ones."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]

_TIMESTAMPS = 1501  # 0 to 30 s
_DTYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]
_INNER = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_FUSED = {
    "self_attention/linear_0": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attention/linear_1": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
}
_OUTER = {
    "embeddings/weight": "embed_tokens.weight",
    "position_encodings/encodings": "embed_positions.weight",
    **{f"conv{n}/{one}": f"conv{n}.{one}" for n in (1, 2) for one in ("weight", "bias")},
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
}
_LEAVES = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}


def convert(source: Path, folder: Path) -> Path:
    """Saves the English CTranslate2 model in ``source`` in ``folder``, as transformers' own classes write it."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer

    variables = _read(source / "model.bin")
    given = json.loads((source / "config.json").read_text())
    vocab_size, width = variables["decoder/embeddings/weight"].shape
    layers = sum(name.endswith("self_attention/layer_norm/gamma") for name in variables) // 2
    config = WhisperConfig(
        vocab_size=vocab_size,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=int(variables["encoder/num_heads"]),
        decoder_attention_heads=int(variables["decoder/num_heads"]),
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        **_ids(end=50256, start=50257),
    )
    model = WhisperForConditionalGeneration(config)
    weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in _renamed(variables)}
    missing, unknown = model.load_state_dict(weights, strict=False)
    assert unknown == [] and set(missing) <= {"proj_out.weight"}, (missing, unknown)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        is_multilingual=False,
        no_timestamps_token_id=vocab_size - 1 - _TIMESTAMPS,
        max_initial_timestamp_index=50,
        alignment_heads=given["alignment_heads"],
        suppress_tokens=given["suppress_ids"],
        begin_suppress_tokens=given["suppress_ids_begin"],
        max_length=448,
    )
    _save(model, WhisperTokenizer(tokenizer_file=str(source / "tokenizer.json")), folder)
    return folder


def make_tiny(folder: Path) -> Path:
    """Saves an untrained model of 1.5 MB in ``folder``, for English and German: whatever it hears, it says letters."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer

    letters = sorted(ByteLevel.alphabet())
    tokenizer = WhisperTokenizer(vocab={letter: at for at, letter in enumerate(letters)}, merges=[])
    names = ["startoftranscript", "en", "de", "translate", "transcribe", "startoflm", "startofprev", "nospeech"]
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in (*names, "notimestamps")]})
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in (*names, "notimestamps", "endoftext")}
    torch.manual_seed(1)
    config = WhisperConfig(
        vocab_size=ids["notimestamps"] + 1 + _TIMESTAMPS,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        **_ids(ids["endoftext"], ids["startoftranscript"]),
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        is_multilingual=True,
        lang_to_id={f"<|{name}|>": ids[name] for name in ("en", "de")},
        task_to_id={name: ids[name] for name in ("translate", "transcribe")},
        no_timestamps_token_id=ids["notimestamps"],
        prev_sot_token_id=ids["startofprev"],
        alignment_heads=[[1, 0]],
        suppress_tokens=[],
        begin_suppress_tokens=[ids["endoftext"]],
        max_initial_timestamp_index=50,
        max_length=448,
    )
    _save(model, tokenizer, folder)
    return folder


def make_tiny_vibevoice(folder: Path) -> Path:
    """Saves an untrained VibeVoice of 4 MB in ``folder``. It hums without an end, each text and voice differently."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        GenerationConfig,
        Qwen2Tokenizer,
        VibeVoiceAcousticTokenizerFeatureExtractor,
        VibeVoiceConfig,
        VibeVoiceForConditionalGeneration,
        VibeVoiceProcessor,
    )

    tokenizer = Qwen2Tokenizer(vocab={letter: at for at, letter in enumerate(sorted(ByteLevel.alphabet()))}, merges=[])
    names = {name: f"<|vision_{name}|>" for name in ("start", "end", "pad")}
    tokenizer.add_special_tokens({"additional_special_tokens": list(names.values())})
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    sound = {"hidden_size": 8, "num_filters": 2, "depths": [1] * 7}
    torch.manual_seed(1)
    model = VibeVoiceForConditionalGeneration(
        VibeVoiceConfig(
            text_config={
                "model_type": "qwen2",
                "vocab_size": len(tokenizer),
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "tie_word_embeddings": False,
            },
            audio_config={"model_type": "vibevoice_acoustic_tokenizer", **sound},
            semantic_model_config={"model_type": "vibevoice_acoustic_tokenizer_encoder", **sound},
            diffusion_head_config={
                "model_type": "vibevoice_diffusion",
                "num_hidden_layers": 1,
                "intermediate_size": 32,
                "frequency_embedding_size": 16,
            },
            pad_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            audio_bos_token_id=ids["start"],
            audio_eos_token_id=ids["end"],
            audio_token_id=ids["pad"],
        )
    )
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        noise_scheduler_class="DPMSolverMultistepScheduler",
        noise_scheduler_config={"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    )
    with torch.no_grad():
        _make_it_go_on(model, ids["pad"])
        tower = model.model.audio_tower
        encoded = tower.encode(torch.randn(1, 1, 24_000), sample=False).latents
        tower.encoder.head.conv.weight /= encoded.abs().max()
        decoded = tower.decode(torch.randn(1, 20, sound["hidden_size"])).audio
        tower.decoder.head.conv.weight *= 0.3 / decoded.abs().max()
    model.save_pretrained(folder)
    template = (
        "{% for message in messages %}{{ message.role }}:{% for part in message.content %}"
        "{% if part.type == 'audio' %}<|vision_start|><|vision_pad|><|vision_end|>{% else %} {{ part.text }}{% endif %}"
        "{% endfor %}{% endfor %}<|vision_start|>"
    )
    processor = VibeVoiceProcessor(VibeVoiceAcousticTokenizerFeatureExtractor(), tokenizer, chat_template=template)
    processor.save_pretrained(folder)
    return folder


def _make_it_go_on(model: Any, token: int) -> None:
    """Makes this token the most probable, whatever came before: the first element of each state is 10, or 5."""
    states = model.model.language_model
    states.embed_tokens.weight[:, 0] = 10
    for layer in states.layers:
        layer.self_attn.o_proj.weight[0] = 0
        layer.mlp.down_proj.weight[0] = 0
    for connector in (model.model.multi_modal_projector, model.model.semantic_connector):
        connector.linear_2.weight[0] = 0
        connector.linear_2.bias[0] = 5
    model.lm_head.weight.zero_()
    model.lm_head.weight[token, 0] = 1


def _ids(end: int, start: int) -> dict[str, Any]:
    """The tokens that a configuration names."""
    return {
        "pad_token_id": end,
        "bos_token_id": end,
        "eos_token_id": end,
        "decoder_start_token_id": start,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
    }


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    from transformers import WhisperFeatureExtractor, WhisperProcessor

    tokenizer.add_tokens([f"<|{0.02 * number:.2f}|>" for number in range(_TIMESTAMPS)])
    model.half().save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)


def _read(file: Path) -> Tensors:
    """The variables of a CTranslate2 model, version 6 of the format."""
    data, at = file.read_bytes(), 0

    def number(form: str) -> int:
        nonlocal at
        at += struct.calcsize(form)
        return int(struct.unpack_from(form, data, at - struct.calcsize(form))[0])

    def text() -> str:
        nonlocal at
        size = number("<H")
        at += size
        return data[at - size : at - 1].decode()

    assert (number("<I"), text()) == (6, "WhisperSpec")
    number("<I")
    variables = {}
    for _ in range(number("<I")):
        name = text()
        shape = [number("<I") for _ in range(number("<B"))]
        dtype, size = np.dtype(_DTYPES[number("<B")]), number("<I")
        variables[name] = np.frombuffer(data, dtype, size // dtype.itemsize, at).reshape(shape)
        at += size
    return variables


def _renamed(variables: Tensors) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for name, array in variables.items():
        part, _, rest = name.partition("/")
        if rest in _OUTER:
            yield f"model.{part}.{_OUTER[rest]}", array
        elif rest.startswith("layer_"):
            layer, _, rest = rest.partition("/")
            inner, _, leaf = rest.rpartition("/")
            prefix = f"model.{part}.layers.{layer.removeprefix('layer_')}"
            projections = _FUSED.get(inner) or [_INNER[inner]]
            for projection, piece in zip(projections, np.split(array, len(projections)), strict=True):
                if not (projection.endswith("k_proj") and leaf == "bias"):  # Whisper has none: these are zeros
                    yield f"{prefix}.{projection}.{_LEAVES[leaf]}", piece
