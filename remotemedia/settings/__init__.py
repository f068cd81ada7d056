"""Settings from files: ``runtime.toml`` and a manifest's ``metadata.multiprocess``."""

# May import: core.multiprocessing, service.config, errors, _drafts, _rules, _python_rules, _naming, _telling

from remotemedia.settings._bind import bind_node_type
from remotemedia.settings._keys import find_setting_problems, setting_meanings
from remotemedia.settings._node_modules import import_node_modules
from remotemedia.settings._resolve import RUNTIME_FILE, Settings, resolve_settings
from remotemedia.settings._service import ServiceSettings, resolve_service_settings

__all__ = [
    "RUNTIME_FILE",
    "ServiceSettings",
    "Settings",
    "bind_node_type",
    "find_setting_problems",
    "import_node_modules",
    "resolve_service_settings",
    "resolve_settings",
    "setting_meanings",
]
