"""WAV through pipes: the header before the samples."""

from __future__ import annotations

from remotemedia._audio.errors import AudioFileError
from remotemedia._audio.kinds import WAV, kind_of
from remotemedia._audio.wav import Compressed, WavHead, parse_wav_head
from remotemedia.cli._errors import Mistake
from remotemedia.cli._pipes import PipeReader

__all__ = ["read_wav_head", "unfit_for_a_pipe"]

_SKIPPED_BYTES = 1 << 16
_HEAD_BYTES = 64


async def read_wav_head(reader: PipeReader, name: str) -> WavHead:
    """Reads up to the first sample. Mistake if it is not a WAV with samples that can be read."""
    if kind_of(await reader.peek(12)) != WAV:
        raise unfit_for_a_pipe(name, await reader.peek(_HEAD_BYTES))
    parsing = parse_wav_head(name)
    step = next(parsing)
    try:
        while True:
            content = b""
            if step.what == "peek":
                content = await reader.peek(step.count)
            elif step.what == "take":
                content = await reader.read(step.count)
            else:
                await _skip(reader, step.count)
            step = parsing.send(content)
    except StopIteration as end:
        head: WavHead = end.value
        return head
    except Compressed as error:
        raise Mistake(f"{error}; name the file instead: more formats can be read from files") from None
    except AudioFileError as error:
        raise Mistake(str(error)) from None


async def _skip(reader: PipeReader, count: int) -> None:
    while count and (skipped := await reader.read(min(count, _SKIPPED_BYTES))):
        count -= len(skipped)


def unfit_for_a_pipe(name: str, head: bytes) -> Mistake:
    """The error for a pipe that carries another format, recognised by its first bytes."""
    kind = kind_of(head)
    if kind is None:
        return Mistake(f"{name} is not a WAV, the only audio that can be read from a pipe")
    if kind == "UTF-16 text":
        return Mistake(f"{name} looks like {kind}; text must be UTF-8 (iconv -f UTF-16 -t UTF-8)")
    return Mistake(
        f"{name} is not a WAV, the only audio that can be read from a pipe: it looks like {kind}. Name the file "
        f"instead, or convert it to WAV first, for example with ffmpeg -i - -f wav -"
    )
