"""docs/service.md has each setting as the code has it, and its example is right."""

from __future__ import annotations

import re
from pathlib import Path

from remotemedia.service.config import ServiceConfig
from remotemedia.settings import resolve_service_settings, setting_meanings
from remotemedia.settings._service import _ENVIRONMENT

DOCUMENT = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
SETTINGS = DOCUMENT.partition("\n## Settings\n")[2].partition("\n## ")[0]


def row(name: str) -> str:
    rule, value = ServiceConfig.RULES[name], getattr(ServiceConfig(), name)
    default = "`[]`" if value == () else f"`{value}`"
    says = rule.says + (" or None" if rule.optional else "")
    return f"| `{name}` | {says} | {default} | {setting_meanings(ServiceConfig)[name]} |"


def test_the_table_is_complete_and_true() -> None:
    rows = [line for line in SETTINGS.splitlines() if line.startswith("| `") and "GRPC_" not in line]
    assert rows == [row(name) for name in ServiceConfig.RULES]


def test_the_variables() -> None:
    documented = dict(re.findall(r"^\| `(GRPC_\w+)` \| `(\w+)`", SETTINGS, re.MULTILINE))
    assert documented == {"GRPC_BIND_ADDRESS": "host", **_ENVIRONMENT}


def test_the_example(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", SETTINGS, re.DOTALL)
    (tmp_path / "runtime.toml").write_text(example)
    (tmp_path / "tokens.txt").write_text("one\n")
    config = resolve_service_settings(config_path=tmp_path / "runtime.toml", environment={}).config
    assert (config.host, config.tokens, config.max_processes) == ("0.0.0.0", ("one",), 400)
