"""Audio files as messages: to send one into a pipeline, and to save its output.

::

    audio = load_audio_file("input.wav")
    await session.send("asr", audio)
    save_audio_file("output.wav", await session.receive("tts"))

``remotemedia.core.multiprocessing`` also exports them. Both hold the whole file in memory; AudioFileReaderNode and
AudioFileWriterNode work block by block. They need soundfile, which comes with the speech nodes.
"""

# May import: core.data, _audio, _install

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from remotemedia._audio.errors import AudioFileError
from remotemedia._audio.reader import AudioReader
from remotemedia._audio.writer import AudioWriter
from remotemedia.core.data import AudioMetadata, DataType, RuntimeData

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["load_audio_file", "save_audio_file"]

_logger = logging.getLogger("remotemedia.audio")

# As `remotemedia run -O` writes them: a WAV keeps the samples as they are, and FLAC has at most 24 bits.
_SUBTYPES = {
    ".wav": {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"},
    ".flac": {"int16": "PCM_16", "int32": "PCM_24", "float32": "PCM_24", "float64": "PCM_24"},
}
_WIRE_DTYPES = {"f32": "<f4", "i16": "<i2", "i32": "<i4"}


def load_audio_file(path: str | os.PathLike[str]) -> RuntimeData:
    """The whole of a WAV, FLAC, OGG or MP3 file, or of any other that libsndfile reads.

    float32, full scale 1.0, at the file's rate; shape (n,) for a mono file, else (n, channels). Blocks while it reads.

    Raises OSError for a file that cannot be opened, ValueError for one that is not audio or is damaged, and ImportError
    without soundfile.
    """
    _check_library()
    try:
        with AudioReader(Path(path)) as reader:
            samples = reader.read_all()
            if reader.warning is not None:
                _logger.warning("%s", reader.warning)
            return RuntimeData.audio(samples, reader.sample_rate, reader.channels)
    except AudioFileError as error:
        raise ValueError(str(error)) from None


def save_audio_file(path: str | os.PathLike[str], data: RuntimeData) -> None:
    """Writes one message of audio to a file that ends in .wav or .flac, which it creates or replaces.

    Samples are int16, int32, float32 or float64, of shape (n,), interleaved or (n, channels); or bytes of the first
    three. A WAV keeps them as they are; a FLAC has 16 bits for int16, else 24. NaN is written as 0 and infinity as 1 or
    -1, with a warning in the log. A FLAC without samples gets one silent frame, which the format requires. Blocks while
    it writes; an existing file stays until the new one is complete.

    Raises TypeError for data other than audio, ValueError for audio or a name that no file can have, OSError for a file
    that cannot be written, and ImportError without soundfile.
    """
    _check_library()
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
    _write(path, samples, form, subtype)


def _samples_of(data: object) -> tuple[npt.NDArray[Any], AudioMetadata]:
    """Samples of shape (n,) or (n, channels) and their form. TypeError or ValueError for other data."""
    if not isinstance(data, RuntimeData):
        raise TypeError(f"save_audio_file takes a RuntimeData, not {type(data).__name__}")
    samples, form = data.payload, data.metadata
    if data.type is not DataType.AUDIO:
        raise TypeError(f"save_audio_file takes AUDIO, not {data.type.name}")
    if not isinstance(form, AudioMetadata) or isinstance(samples, str):
        raise TypeError("save_audio_file takes audio with AudioMetadata (see RuntimeData.audio)")
    if not isinstance(samples, np.ndarray):
        if form.format not in _WIRE_DTYPES:
            raise ValueError(f"save_audio_file takes bytes of {', '.join(_WIRE_DTYPES)}, not of {form.format!r}")
        samples = np.frombuffer(samples, _WIRE_DTYPES[form.format])
    if samples.ndim == 1 and form.channels > 1 and samples.size % form.channels == 0:
        samples = samples.reshape(-1, form.channels)
    if samples.ndim not in (1, 2) or (1 if samples.ndim == 1 else samples.shape[1]) != form.channels:
        raise ValueError(f"save_audio_file: samples of shape {samples.shape} do not have {form.channels} channels")
    if form.sample_rate < 1:
        raise ValueError(f"save_audio_file: {form.sample_rate} Hz is not a sample rate")
    return samples, form


def _write(path: Path, samples: npt.NDArray[Any], form: AudioMetadata, subtype: str) -> None:
    try:
        with AudioWriter(path, form.sample_rate, form.channels, subtype) as writer:
            writer.write(samples)
            writer.keep()
            warning = writer.numbers.take_warning()
    except OSError as error:
        if error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None  # with the name that the caller gave
        raise OSError(f"{path} cannot be written: {error}") from None
    if warning is not None:
        _logger.warning("%s: %s", path, warning)


def _check_library() -> None:
    try:
        import soundfile  # noqa: F401
    except ImportError as error:
        from remotemedia._install import install_advice

        raise ImportError(
            f"audio files need soundfile ({error}): {install_advice('speech')}", name="soundfile"
        ) from None
