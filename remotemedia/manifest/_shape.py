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
from remotemedia._rules import FLAG, LIST, MAPPING, STRING, number, one_of, problems_of, whole_number
from remotemedia._telling import json_shown
from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.errors import Problem

__all__ = ["manifest_schema", "shape_problems"]

_TYPES = {
    "array": LIST.says,
    "boolean": FLAG.says,
    "null": "null",
    "number": number().says,
    "object": MAPPING.says,
    "string": STRING.says,
}


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of manifests of version v1; a new copy."""
    text = resources.files("remotemedia.manifest").joinpath("manifest-v1.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def shape_problems(value: object) -> Iterator[Problem]:
    """Entries missing, unknown or of the wrong type, each with its place; settings by their own rules."""
    for error in _validator().iter_errors(value):
        steps = tuple(error.absolute_path)
        if steps[:2] != ("metadata", "multiprocess"):
            yield from _reworded(error, steps)
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if isinstance(metadata, dict) and "multiprocess" in metadata:
        yield from problems_of(metadata["multiprocess"], MultiprocessConfig.PIPELINE_RULES, "metadata.multiprocess")


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
        case "type" | "minimum" | "maximum":
            yield Problem(f"must be {_values(schema)}, not {shown}", at)
        case "const":
            yield Problem(f"must be {json_shown(rule)}, not {shown}", at)
        case "enum":
            yield Problem(f"must be {one_of(rule, json_shown)}, not {shown}", at)
        case "minItems" | "minLength":
            yield Problem("must not be empty", at)
        case "uniqueItems":
            yield Problem("must not have the same twice", at)
        case "pattern":
            yield Problem(f"must not have a NUL character in it: {shown}", at)
        case _:
            yield Problem(error.message, at)


def _values(schema: Any) -> str:
    """What the schema of a number, or of anything else of a type, takes."""
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return " or ".join(
        whole_number(schema.get("minimum"), schema.get("maximum")).says if name == "integer" else _TYPES[name]
        for name in types
    )


@cache
def _validator() -> Any:
    # For jsonschema 5.0 is an integer. It would not arrive as one.
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    validator: Any = extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]
    return validator(manifest_schema())
