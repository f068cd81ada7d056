"""The weights that nodes can use by name: where they are on the Hugging Face Hub, how large, under which licence."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from remotemedia._naming import offer

__all__ = ["FILES", "WHISPER", "Weights", "find_weights", "repository_of"]


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


WHISPER: dict[str, Weights] = {
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

_OTHER_NAMES = {"large": "large-v3", "turbo": "large-v3-turbo"}
"""What people also call them, here as in faster-whisper."""

_NEEDED = ("model.bin", "config.json", "tokenizer.json")
FILES = (*_NEEDED, "preprocessor_config.json", "vocabulary.*")
"""The files of a repository that faster-whisper reads, where it has them."""


def repository_of(model: str) -> str | None:
    """The repository on the Hub that ``model`` names: by a name of the table, or as ``owner/name``; else None."""
    if (named := WHISPER.get(_OTHER_NAMES.get(model, model))) is not None:
        return named.repository
    owner, slash, name = model.partition("/")
    return model if slash and owner and name and "/" not in name and owner not in (".", "..", "~") else None


def _fetch_command(model: str, models_dir: str = "") -> str:
    """What to type to get the weights of ``model``."""
    import shlex

    into = f" --models-dir {shlex.quote(models_dir)}" if models_dir else ""
    return f"remotemedia models fetch {shlex.quote(model)}{into}"


def _missing_files(folder: Path) -> list[str]:
    """The names of the files that a folder lacks to be a Whisper model for CTranslate2."""
    there = {file.name for file in folder.iterdir()}
    lacking = [name for name in _NEEDED if name not in there]
    if not any(name.startswith("vocabulary.") for name in there):
        lacking.append("vocabulary.json")
    return lacking


def find_weights(owner: str, model: str, models_dir: str = "") -> Path:
    """The folder with the weights of ``model``: in ``models_dir``, ``model`` itself, or in the cache of the Hub.

    Nothing is downloaded. FileNotFoundError that names the owner, where they were looked for and how to get them;
    ValueError for a name that can only be a mistake.
    """
    tried = []
    folders = [Path(models_dir).expanduser() / model] if models_dir else []
    for folder in (*folders, Path(model).expanduser()):
        if not folder.is_dir():
            tried.append(f"{folder} (no such folder)")
        elif not (missing := _missing_files(folder)):
            return folder.absolute()
        else:
            tried.append(f"{folder} (no CTranslate2 model: it lacks {', '.join(missing)})")
    repository = repository_of(model)
    if repository is None:
        if "/" in model:
            raise FileNotFoundError(f"{owner}: no weights for model {model!r}: looked in {', '.join(tried)}")
        hint = offer(model, WHISPER, "the names are")
        raise ValueError(
            f"{owner}: param 'model': there is no model {model!r}; {hint} (or OWNER/NAME on the Hugging Face Hub, or a "
            f"folder); looked in {', '.join(tried)}"
        )
    cached, where = _in_cache(repository)
    if cached is not None and not _missing_files(cached):
        return cached
    tried.append(f"{where} (no {repository}{', or only a part of it' if cached is not None else ''})")
    raise FileNotFoundError(
        f"{owner}: no weights for model {model!r}: looked in {', '.join(tried)}; "
        f"to get them: {_fetch_command(model, models_dir)}"
    )


def _in_cache(repository: str) -> tuple[Path | None, str]:
    """The newest snapshot of a repository in the Hub's cache, and where that is; without the network."""
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(repository, "config.json")
    return (Path(found).parent if isinstance(found, str) else None), str(constants.HF_HUB_CACHE)
