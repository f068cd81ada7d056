"""Audio files, written so that they are complete or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from remotemedia._audio.library import reason_of, unsought_file
from remotemedia._audio.samples import NotNumbers
from remotemedia._drafts import Draft

__all__ = ["AudioWriter", "SoundEncoder"]


class SoundEncoder:
    """libsndfile, writing to a descriptor that stays the caller's; OSError for every failure.

    Floats beyond full scale are clipped where ``subtype`` is one of integers.
    """

    def __init__(self, fd: int, form: str, sample_rate: int, channels: int, subtype: str) -> None:
        import soundfile

        self._errors = (soundfile.SoundFileError, ValueError, TypeError, OverflowError, AssertionError)
        self._fd = _Descriptor(fd)
        self._is_float = subtype in ("FLOAT", "DOUBLE")
        self._file: Any = None
        try:
            self._file = self._called(unsought_file(), self._fd, "w", sample_rate, channels, subtype, None, form)
        except OSError as error:
            if error.errno is not None:
                raise
            what = f"{form} cannot have {channels} channels at {sample_rate} Hz as {subtype}"
            raise OSError(f"{what} ({error})") from None

    def write(self, samples: npt.NDArray[Any]) -> None:
        """Appends samples of shape (n,) or (n, channels)."""
        if self._is_float and samples.dtype.kind == "i":
            # libsndfile would write the integers unscaled: 32767.0 for full scale.
            samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
        # libsndfile assumes this machine's byte order for every array.
        self._called(self._file.write, samples.astype(samples.dtype.newbyteorder("="), copy=False))

    def finish(self) -> None:
        """Completes the file; afterwards there is nothing to close."""
        self._called(self._file.close)

    def close(self) -> None:
        """Abandons the file. May be repeated."""
        self._fd.give_up()
        if self._file is not None:
            with suppress(*self._errors):
                self._file.close()

    def _called(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            result = call(*arguments)
        except self._errors as error:
            # The system's error says more than libsndfile's.
            raise (self._fd.error or OSError(reason_of(error))) from None
        # libsndfile does not report every failed write.
        if self._fd.error is not None:
            raise self._fd.error
        return result


class AudioWriter:
    """One WAV or FLAC file, which appears, or replaces another, only by ``keep()``; its owner closes it.

    Samples that are not numbers are replaced (``NotNumbers``). After an error the draft is gone, and every further call
    raises the same error.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int, subtype: str) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.frames = 0
        self.numbers = NotNumbers()
        self._error: OSError | None = None
        self._draft = Draft(path)
        form = path.suffix[1:].upper()
        try:
            self._encoder = SoundEncoder(self._draft.fd, form, sample_rate, channels, subtype)
        except BaseException:
            self._draft.close()
            raise

    def write(self, samples: npt.NDArray[Any]) -> None:
        """Appends samples of shape (n,) or (n, channels); OSError if they cannot be written."""
        self._or_give_up(self._encoder.write, self.numbers.replaced(samples))
        self.frames += len(samples)

    def keep(self) -> None:
        """Completes the file and puts it in its place; OSError if that fails."""
        self._or_give_up(self._encoder.finish)
        self._or_give_up(self._draft.keep)

    def close(self) -> None:
        """Removes the unfinished file. May be repeated."""
        self._encoder.close()
        self._draft.close()

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _or_give_up(self, call: Callable[..., None], *arguments: Any) -> None:
        if self._error is not None:
            raise self._error
        try:
            call(*arguments)
        except OSError as error:
            self._error = error
            self.close()
            raise


class _Descriptor:
    """A descriptor as the file object that libsndfile needs. Callbacks cannot raise: the first error is kept."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.error: OSError | None = None

    def give_up(self) -> None:
        """Nothing is written from here on."""
        self.error = self.error or OSError("closed")

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        try:
            while left and self.error is None:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            self.error = error
        return len(data) - len(left)

    def read(self, count: int) -> bytes:
        try:
            return os.read(self._fd, count)
        except OSError as error:
            self.error = self.error or error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return os.lseek(self._fd, offset, whence)
        except OSError as error:
            self.error = self.error or error
            return -1

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)
