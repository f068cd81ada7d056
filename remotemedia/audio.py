"""Audio files as messages: what a program sends into a pipeline, and keeps of what comes out.

::

    audio = load_audio_file("input.wav")
    await session.send("asr", audio)
    save_audio_file("output.wav", await session.receive("tts"))

``remotemedia.core.multiprocessing`` has them, too. Both hold the whole file in memory; AudioFileReaderNode and
AudioFileWriterNode do it block by block. They need soundfile, which comes with the speech nodes.
"""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["load_audio_file", "save_audio_file"]

_logger = logging.getLogger("remotemedia.audio")

_BLOCK_FRAMES = 1 << 16
# As `remotemedia run -O` writes them: a WAV has the samples as they are, and FLAC has no more than 24 bits.
_SUBTYPES = {
    ".wav": {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"},
    ".flac": {"int16": "PCM_16", "int32": "PCM_24", "float32": "PCM_24", "float64": "PCM_24"},
}
_WIRE_DTYPES = {"f32": "<f4", "i16": "<i2", "i32": "<i4"}


def load_audio_file(path: str | os.PathLike[str]) -> RuntimeData:
    """All of a WAV, FLAC, OGG or MP3 file, or another that libsndfile reads.

    float32, full scale 1.0, at the file's rate; shape (n,) for a mono file, else (n, channels). Blocks while it reads.

    Raises OSError for a file that cannot be opened, ValueError for one that is not audio or is damaged, and ImportError
    without soundfile.
    """
    samples, sample_rate = _read(Path(path))
    return RuntimeData.audio(samples, sample_rate, 1 if samples.ndim == 1 else samples.shape[1])


def save_audio_file(path: str | os.PathLike[str], data: RuntimeData) -> None:
    """Writes one message of audio to a file that ends in .wav or .flac, which it creates or replaces.

    Samples are int16, int32, float32 or float64, of shape (n,), interleaved or (n, channels); or bytes of the first
    three. A WAV has them as they are, a FLAC with 16 bits if they are int16, else with 24. What is not a number is
    written as 0, or 1 or -1 for infinities, with a warning in the log. A FLAC without samples gets one silent frame, as
    the format wants. Blocks while it writes; what was there stays until the new file is whole.

    Raises TypeError for what is not audio, ValueError for audio or a name that no file can have, OSError for a file
    that cannot be written, and ImportError without soundfile.
    """
    path = Path(path)
    subtypes = _SUBTYPES.get(path.suffix.lower())
    if subtypes is None:
        raise ValueError(f"{path}: the file must end in {' or '.join(_SUBTYPES)}")
    samples, form = _samples_of(data)
    subtype = subtypes.get(samples.dtype.name)
    if subtype is None:
        raise ValueError(f"{path}: samples of {samples.dtype.name} cannot be written; {', '.join(subtypes)} can")
    if not len(samples) and path.suffix.lower() == ".flac":
        samples = np.zeros((1, *samples.shape[1:]), samples.dtype)
    # libsndfile takes every array for one of this machine's byte order.
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    _write(path, _numbers(samples, path), form, subtype)


def _samples_of(data: object) -> tuple[npt.NDArray[Any], AudioMetadata]:
    """Samples of shape (n,) or (n, channels) and their form. TypeError or ValueError for what is not audio."""
    if not isinstance(data, RuntimeData):
        raise TypeError(f"save_audio_file takes a RuntimeData, not {type(data).__name__}")
    samples, form = data.payload, data.metadata
    if data.type is not DataType.AUDIO:
        raise TypeError(f"save_audio_file takes AUDIO, not {data.type.name}")
    if not isinstance(form, AudioMetadata) or isinstance(samples, str):
        raise TypeError("save_audio_file takes audio that says its rate and channels (see RuntimeData.audio)")
    if not isinstance(samples, np.ndarray):
        if form.format not in _WIRE_DTYPES:
            raise ValueError(f"save_audio_file takes bytes of {', '.join(_WIRE_DTYPES)}, not of {form.format!r}")
        samples = np.frombuffer(samples, _WIRE_DTYPES[form.format])
    if samples.ndim == 1 and form.channels > 1 and samples.size % form.channels == 0:
        samples = samples.reshape(-1, form.channels)
    if samples.ndim not in (1, 2) or (1 if samples.ndim == 1 else samples.shape[1]) != form.channels:
        raise ValueError(f"save_audio_file: samples of shape {samples.shape} are not {form.channels} channels")
    if form.sample_rate < 1:
        raise ValueError(f"save_audio_file: {form.sample_rate} Hz is no sample rate")
    return samples, form


def _numbers(samples: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """The same if all are numbers; else a copy, and a warning."""
    count = 0 if samples.dtype.kind != "f" else samples.size - int(np.isfinite(samples).sum())
    if not count:
        return samples
    _logger.warning("%s: samples that are not numbers: %d; NaN is written as 0, infinities as 1 or -1", path, count)
    replaced: npt.NDArray[Any] = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    return replaced


# --- files -------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    soundfile = _soundfile()
    path.open("rb").close()  # says in the system's words why it cannot be opened

    class Unsought(soundfile.SoundFile):  # type: ignore[misc,name-defined]
        def seekable(self) -> bool:
            return False  # else it seeks around each read, which fails in a FLAC that does not know its length

    try:
        with Unsought(path) as file:
            blocks: list[npt.NDArray[np.float32]] = [file.read(0, "float32")]
            while len(block := file.read(_BLOCK_FRAMES, "float32")):
                blocks.append(block)
            return np.concatenate(blocks), file.samplerate
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a .raw file, which does not say what it is
        raise ValueError(f"{path} is not audio that can be read: {_reason(error)}") from None


def _write(path: Path, samples: npt.NDArray[Any], form: AudioMetadata, subtype: str) -> None:
    soundfile = _soundfile()
    final = path.resolve()  # a link stays one: what it points to is replaced
    draft = final.with_name(f".{final.stem[:40]}-{secrets.token_hex(4)}{final.suffix}")
    try:
        draft.touch()
        with soundfile.SoundFile(draft, "w", form.sample_rate, form.channels, subtype) as file:
            file.write(samples)
        with suppress(FileNotFoundError):
            draft.chmod(final.stat().st_mode & 0o7777)
        draft.replace(final)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # by the name that the caller gave
    except (soundfile.SoundFileError, AssertionError, OverflowError) as error:
        # AssertionError: less was written than was given, as where there is no more room.
        what = f"{_counted_channels(form.channels)} of {samples.dtype.name} at {form.sample_rate} Hz"
        raise OSError(f"{path} cannot be written as {subtype} with {what}: {_reason(error)}") from None
    finally:
        draft.unlink(missing_ok=True)


def _counted_channels(count: int) -> str:
    return f"{count} channel{'' if count == 1 else 's'}"


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError(f"audio files need soundfile ({error}): pip install soundfile", name="soundfile") from error
    return soundfile
