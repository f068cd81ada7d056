"""docs/configuration.md has each setting as the code has it, and its examples are right."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import tomllib
from pathlib import Path

from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.settings import resolve_settings, setting_meanings

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
IN_PYTHON_TABLE = {"python_executable": "executable", "venv_path": "venv_path", "extra_paths": "extra_paths"}


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)```", DOCUMENT, re.DOTALL | re.MULTILINE)
    return str(found)


def row(field: dataclasses.Field[object]) -> str:
    rule, value = MultiprocessConfig.RULES[field.name], getattr(MultiprocessConfig(), field.name)
    key = IN_PYTHON_TABLE.get(field.name)
    place = f"python.{key}" if key else field.name
    says = rule.says + (" or None" if rule.optional else "")
    default = (
        "the running interpreter"
        if value == sys.executable
        else "`[]`"
        if value == ()
        else "`{}`"
        if value == {}
        else f"`{value}`"
    )
    return f"| `{field.name}` | `multiprocess.{place}` | {says} | {default} | {setting_meanings()[field.name]} |"


def test_the_table_is_complete_and_true() -> None:
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| `")]
    assert rows == [row(field) for field in dataclasses.fields(MultiprocessConfig)]


def test_each_field_has_a_rule() -> None:
    assert list(MultiprocessConfig.RULES) == [field.name for field in dataclasses.fields(MultiprocessConfig)]


def test_the_examples(tmp_path: Path) -> None:
    file = tmp_path / "runtime.toml"
    file.write_text(block("toml"))
    manifest = json.loads(block("json"))
    settings = resolve_settings(config_path=file, manifest_settings=manifest["metadata"]["multiprocess"])
    assert settings.config.channel_capacity == 500
    document = tomllib.loads(block("toml"))["multiprocess"]
    names = {*document} - {"python"} | {name for name, key in IN_PYTHON_TABLE.items() if key in document["python"]}
    assert names == set(MultiprocessConfig.RULES)
