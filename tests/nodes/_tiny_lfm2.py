"""An untrained LFM2-Audio, as liquid-audio's own classes write and read it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from remotemedia._weights import MIMI_FILE
from remotemedia.nodes import LFM2AudioNode

FIRST_LETTER = 131  # the library has special tokens up to 130 by number
_ASCII = 94  # letters that are one byte each

_SPECIAL = {
    0: "<|pad|>",
    1: "<|startoftext|>",
    2: "<|endoftext|>",
    6: "<|im_start|>",
    7: "<|im_end|>",
    128: "<|audio_start|>",
    129: "<|text_start|>",
    130: "<|text_end|>",
}


class TinyLFM2Node(LFM2AudioNode):
    """Reads it in a process of its own, too."""

    async def initialize(self) -> None:
        """Load the model."""
        shrink_mimi()
        await super().initialize()


def shrink_mimi() -> None:
    """The library knows one size of it, 385 MB; from now on, in this process, it is one of 0.1 MB."""
    from liquid_audio.moshi.models import loaders

    loaders._seanet_kwargs.update(dimension=16, n_filters=2)
    loaders._quantizer_kwargs.update(dimension=8, n_q=8, input_dimension=16, output_dimension=16)
    loaders._transformer_kwargs.update(
        d_model=16, num_heads=2, num_layers=1, dim_feedforward=16, input_dimension=16, output_dimensions=[16]
    )


def make_tiny_lfm2(folder: Path) -> Path:
    """Saves one of 15 MB in ``folder``. It babbles and hums without an end, each prompt differently."""
    import torch
    from liquid_audio import LFM2AudioModel
    from liquid_audio.model.conformer.encoder import ConformerEncoderConfig
    from liquid_audio.model.lfm2_audio import DepthformerConfig, LFM2AudioConfig
    from safetensors.torch import save_file
    from transformers import Lfm2Config

    folder.mkdir()
    torch.manual_seed(1)
    lfm = {
        "vocab_size": _save_tokenizer(folder),
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "layer_types": ["conv", "full_attention"],
        "block_auto_adjust_ff_dim": False,
        "initializer_range": 0.2,
    }
    config: dict[str, Any] = {
        "architectures": ["Lfm2AudioForConditionalGeneration"],
        "codebooks": 8,
        "tie_audio_embeddings": False,
        "semantic_codebook_factor": 100,
        "codebook_weight": "log",
        "interleaved_n_text": 6,
        "interleaved_n_audio": 12,
        "preprocessor": _PREPROCESSOR,
    }
    encoder = ConformerEncoderConfig(**_ENCODER)
    depthformer = DepthformerConfig(layers=1, dim=64, tie=False)
    network = LFM2AudioModel(LFM2AudioConfig(lfm=Lfm2Config(**lfm), encoder=encoder, depthformer=depthformer, **config))
    with torch.no_grad():
        network.lfm.embed_tokens.weight[:FIRST_LETTER] = 0
        network.lfm.embed_tokens.weight[FIRST_LETTER + _ASCII :] = 0
        for one in network.depth_embeddings:
            one.to_logits.weight[2048] = 0
    state = {name: one.contiguous().clone() for name, one in network.state_dict().items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config |= {"lfm": lfm, "encoder": asdict(encoder), "depthformer": asdict(depthformer)}
    (folder / "config.json").write_text(json.dumps(config))
    _save_mimi(folder)
    return folder


def _save_tokenizer(folder: Path) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = [_SPECIAL.get(number, f"<|reserved_{number}|>") for number in range(FIRST_LETTER)]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=special[0], bos_token=special[1])
    fast.add_special_tokens({"additional_special_tokens": special[2:]})
    fast.save_pretrained(folder)
    return len(vocab)


def _save_mimi(folder: Path) -> None:
    import torch
    from liquid_audio.moshi.models import loaders
    from safetensors.torch import save_file

    shrink_mimi()
    mimi = loaders.get_mimi(None)
    with torch.no_grad():
        for name, one in mimi.named_buffers():
            if name.endswith("embedding_sum"):
                one.normal_()
        state = {name: one.clone() for name, one in mimi.state_dict().items()}
        decoded = mimi.decode(torch.randint(2048, (1, 8, 20)))
        (last,) = [name for name in state if name.startswith(f"decoder.model.{len(mimi.decoder.model) - 1}.")
                   and name.endswith("weight")]  # fmt: skip
        state[last] *= 0.3 / (decoded - decoded.mean()).abs().max()
        state[last.removesuffix("weight") + "bias"] *= 0
    save_file(state, folder / MIMI_FILE)


_PREPROCESSOR = {
    "sample_rate": 16_000,
    "normalize": "per_feature",
    "window_size": 0.025,
    "window_stride": 0.01,
    "window": "hann",
    "features": 128,
    "n_fft": 512,
    "log": True,
    "frame_splicing": 1,
    "dither": 1e-5,
    "pad_to": 0,
    "pad_value": 0.0,
}
_ENCODER = {
    "feat_in": 128,
    "feat_out": -1,
    "n_layers": 1,
    "d_model": 32,
    "subsampling": "dw_striding",
    "subsampling_factor": 8,
    "subsampling_conv_channels": 16,
    "causal_downsampling": False,
    "reduction": None,
    "reduction_position": None,
    "reduction_factor": 1,
    "ff_expansion_factor": 2,
    "self_attention_model": "rel_pos",
    "n_heads": 2,
    "att_context_size": [-1, -1],
    "xscaling": False,
    "untie_biases": True,
    "pos_emb_max_len": 5000,
    "conv_kernel_size": 9,
    "conv_norm_type": "batch_norm",
    "conv_context_size": None,
    "dropout": 0.0,
    "dropout_pre_encoder": 0.0,
    "dropout_emb": 0.0,
    "dropout_att": 0.0,
}
