"""JSON values as texts and back, strictly: what other languages would not read is not JSON here either."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from remotemedia.core.data import check_keys
from remotemedia.errors import PayloadError

__all__ = ["json_text", "parse_json"]

_SHOWN_DIGITS = 20


def json_text(value: object) -> str:
    """``value`` as JSON without spaces; PayloadError that names the place in it which is not JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        check_keys(value)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        from remotemedia.core.wording import value_refused

        raise PayloadError(value_refused(value, error)) from None
    return text


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError says why it is not JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_number, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _refuse_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text[:_SHOWN_DIGITS])


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"a number of {len(text)} digits, {text[:_SHOWN_DIGITS]}..., is too long") from None
