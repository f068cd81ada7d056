"""The shape of a manifest, by its JSON Schema, in the words of our other errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from remotemedia._naming import place, unknown_key
from remotemedia._telling import json_shown
from remotemedia.errors import Problem
from remotemedia.settings import find_setting_problems

__all__ = ["manifest_schema", "shape_problems"]

_TYPES = {
    "array": "a list",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "a string",
}


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of manifests of version v1; a new copy."""
    text = resources.files("remotemedia.manifest").joinpath("manifest-v1.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def shape_problems(value: object) -> Iterator[Problem]:
    """What is missing, not known or of the wrong type, each with its place; settings by their own rules."""
    for error in _validator().iter_errors(value):
        steps = tuple(error.absolute_path)
        if steps[:2] != ("metadata", "multiprocess"):
            yield from _reworded(error, steps)
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if isinstance(metadata, dict) and "multiprocess" in metadata:
        yield from find_setting_problems(metadata["multiprocess"])


def _reworded(error: ValidationError, steps: tuple[str | int, ...]) -> Iterator[Problem]:
    value: Any = error.instance
    rule: Any = error.validator_value
    schema: Any = error.schema
    at, shown = place(*steps), json_shown(value)
    match error.validator:
        case "additionalProperties":
            known = schema["properties"]
            for key in value:
                if key not in known:
                    yield Problem(unknown_key(key, known), place(*steps, key))
        case "required":
            # One error for each missing key; which one, only its message says.
            for key in rule:
                if error.message.startswith(repr(key)):
                    yield Problem(f"{key!r} is missing", place(*steps, key))
        case "type":
            types = [rule] if isinstance(rule, str) else rule
            yield Problem(f"must be {' or '.join(_TYPES[name] for name in types)}, not {shown}", at)
        case "const":
            yield Problem(f"must be {json_shown(rule)}, not {shown}", at)
        case "enum":
            yield Problem(f"must be {' or '.join(map(json_shown, rule))}, not {shown}", at)
        case "minItems" | "minLength":
            yield Problem("must not be empty", at)
        case "uniqueItems":
            yield Problem("must not have the same twice", at)
        case "pattern":
            yield Problem(f"must not have a NUL character in it: {shown}", at)
        case "minimum" | "maximum":
            bound = "least" if error.validator == "minimum" else "most"
            yield Problem(f"must be at {bound} {rule}, not {shown}", at)
        case _:
            yield Problem(error.message, at)


@cache
def _validator() -> Any:
    # For jsonschema 5.0 is an integer. It would not arrive as one.
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    validator: Any = extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]
    return validator(manifest_schema())
