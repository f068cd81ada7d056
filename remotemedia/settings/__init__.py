"""Settings from files: ``runtime.toml`` and a manifest's ``metadata.multiprocess``."""

# May import: core.multiprocessing, service.config, errors, _rules, _naming, _telling

from remotemedia.settings._keys import find_setting_problems, setting_meanings
from remotemedia.settings._node_modules import import_node_modules
from remotemedia.settings._resolve import Settings, resolve_settings
from remotemedia.settings._service import ServiceSettings, resolve_service_settings

__all__ = [
    "ServiceSettings",
    "Settings",
    "find_setting_problems",
    "import_node_modules",
    "resolve_service_settings",
    "resolve_settings",
    "setting_meanings",
]
