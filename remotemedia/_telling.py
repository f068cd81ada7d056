"""Describes the user's exceptions and values, even if their own methods fail.

Nothing here raises, and every text has a limit. The parts of an exception are read past its class: properties named
``__cause__`` or ``exceptions`` are not called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import TracebackType

__all__ = ["clip", "family", "json_shown", "name_of", "said", "shown", "trace"]

_NAME_CHARS, _MESSAGE_CHARS, _SAID_CHARS, _VALUE_CHARS, _JSON_CHARS = 200, 3_500, 4_000, 200, 80
_MEMBERS, _DEPTH = 3, 3
"""How many members of an exception group are described, and how many levels of groups."""
_FAMILY = 50
"""How many exceptions of a chain or a group may be written out in full."""
_FRAMES = 60

_cause = BaseException.__dict__["__cause__"].__get__
_context = BaseException.__dict__["__context__"].__get__
_suppressed = BaseException.__dict__["__suppress_context__"].__get__
_traceback = BaseException.__dict__["__traceback__"].__get__
_members = BaseExceptionGroup.__dict__["exceptions"].__get__
_name = type.__dict__["__name__"].__get__


def clip(text: str, chars: int) -> str:
    """The text, or its beginning and end if it is longer than ``chars``."""
    if len(text) <= chars:
        return text
    return f"{text[: chars // 2]}[... {len(text) - chars:,} characters ...]{text[-(chars // 2) :]}"


def name_of(value: object) -> str:
    """The name of the type of ``value``, on one line."""
    return clip(" ".join(_plain(_name(type(value))).split()), _NAME_CHARS) or "Exception"


def said(error: BaseException) -> str:
    """``ValueError: its message``; for a group, also its first members."""
    try:
        return _said(error, _DEPTH)
    except BaseException:
        return name_of(error)


def shown(value: object, chars: int = _VALUE_CHARS) -> str:
    """The repr of ``value``, clipped."""
    try:
        return clip(_plain(repr(value)), chars)
    except BaseException as problem:
        return f"<{name_of(value)} whose repr() raises {name_of(problem)}>"


def json_shown(value: object, chars: int = _JSON_CHARS) -> str:
    """``value`` about as a manifest or a file of settings has it, clipped."""
    import json  # here: no node's process shows values of files

    try:
        return clip(json.dumps(value, ensure_ascii=False, default=str), chars)
    except (TypeError, ValueError, RecursionError):  # a key that is not text, a number of thousands of digits
        return f"this {name_of(value)}"


def trace(error: BaseException, chars: int) -> str:
    """The traceback with those of causes and members, as Python writes it; a shorter one if that fails or never ends.

    Describing an exception runs code of its class and of its module. While one error is handled, that code must not
    end the process.
    """
    for write in (_by_python, _by_hand):
        try:
            if text := write(error, chars):
                return clip(text, chars)
        except BaseException:  # noqa: S112 - the next way to write it is tried
            continue
    return said(error)


def _by_python(error: BaseException, chars: int) -> str | None:
    related = family(error, _FAMILY + 1)
    if len(related) > _FAMILY or any(_is_long(at, chars) for at in related):
        return None
    import traceback

    return _plain("".join(traceback.format_exception(error)))


def _is_long(error: BaseException, chars: int) -> bool:
    try:
        return len(str(error)) > chars
    except BaseException:
        return False


def _by_hand(error: BaseException, chars: int) -> str:
    return "".join(_trace(error, _DEPTH))


def family(error: BaseException, most: int) -> list[BaseException]:
    """An exception, its causes, contexts and members, and theirs; each once, at most ``most`` of them."""
    found: dict[int, BaseException] = {}
    left: deque[BaseException | None] = deque([error])
    while left and len(found) < most:
        at = left.popleft()
        if at is None or id(at) in found:
            continue
        found[id(at)] = at
        left += (_cause(at), _context(at), *_members_of(at)[:most])
    return list(found.values())


def _said(error: BaseException, depth: int) -> str:
    text = f"{name_of(error)}: {_message(error)}"
    members = _members_of(error)
    if members and depth:
        told = [clip(_said(member, depth - 1), _SAID_CHARS // _MEMBERS) for member in members[:_MEMBERS]]
        more = [f"{len(members) - _MEMBERS} more"] if len(members) > _MEMBERS else []
        text += ": " + "; ".join(told + more)
    return clip(text, _SAID_CHARS)


def _message(error: BaseException) -> str:
    try:
        return _plain(clip(str.__str__(str(error)), _MESSAGE_CHARS))
    except BaseException as problem:
        why = f"<its __str__() raises {name_of(problem)}>"
    try:
        own = BaseException.__str__(error)  # the arguments it was made with
    except BaseException:
        own = ""
    return f"{why} {_plain(clip(own, _MESSAGE_CHARS))}".rstrip()


def _plain(text: str) -> str:
    """A plain str, not of a subclass, that can be written to any file."""
    return str.__str__(text).encode(errors="backslashreplace").decode()


def _members_of(error: BaseException) -> tuple[BaseException, ...]:
    if not issubclass(type(error), BaseExceptionGroup):
        return ()
    members: tuple[BaseException, ...] = _members(error)
    return members


def _trace(error: BaseException, depth: int) -> Iterator[str]:
    """The oldest first, as Python does it; for a long chain, only its first and last exceptions."""
    chain = _chain(error)
    for number, (at, link) in enumerate(chain):
        if len(chain) > 2 * _MEMBERS and number == _MEMBERS:
            yield f"[... {len(chain) - 2 * _MEMBERS:,} more exceptions ...]\n\n"
        if len(chain) <= 2 * _MEMBERS or not _MEMBERS <= number < len(chain) - _MEMBERS:
            yield "Traceback (most recent call last):\n"
            yield from _frames(_traceback(at))
            yield f"{_said(at, 0)}\n{link}"
    members = _members_of(error)
    for number, member in enumerate(members[:_MEMBERS] if depth else (), 1):
        yield f"\nMember {number} of {len(members)}:\n\n"
        yield from _trace(member, depth - 1)


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """From the oldest to the exception itself, each with the sentence that leads to the next."""
    found = {id(error): (error, "")}
    at: BaseException = error
    while True:
        link = "\nThe above exception was the direct cause of the following exception:\n\n"
        before = _cause(at)
        if before is None and not _suppressed(at):
            link = "\nDuring handling of the above exception, another exception occurred:\n\n"
            before = _context(at)
        if before is None or id(before) in found:
            return list(reversed(found.values()))
        found[id(before)] = before, link
        at = before


def _frames(at: TracebackType | None) -> Iterator[str]:
    last: deque[str] = deque(maxlen=_FRAMES)
    while at is not None:
        code = at.tb_frame.f_code
        place = f'  File "{code.co_filename}", line {at.tb_lineno}, in {code.co_name}\n'
        last.append(place + _source_line(code.co_filename, at.tb_lineno))
        at = at.tb_next
    yield from map(_plain, last)


def _source_line(file: str, line: int | None) -> str:
    try:
        import linecache

        text = linecache.getline(file, line or 0).strip()
    except BaseException:
        return ""
    return f"    {text}\n" if text else ""
