"""Settings on the command line."""

from __future__ import annotations

from collections.abc import Iterable

from remotemedia.cli._errors import Mistake

__all__ = ["parse_settings"]


def parse_settings(settings: Iterable[str]) -> dict[str, object]:
    """``KEY=VALUE``, the value as in runtime.toml, where a text may go without quotes."""
    import tomllib

    found: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise Mistake(f"--set {setting}: write KEY=VALUE")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found
