"""How long messages may be unless somebody says otherwise. Imports nothing: the settings of the service know it too."""

__all__ = ["ENVELOPE_BYTES", "MESSAGE_BYTES", "PAYLOAD_BYTES"]

ENVELOPE_BYTES = 64 * 1024
"""What a message may need beside its payload."""

PAYLOAD_BYTES = 16 * 1024 * 1024
"""What a service takes at least."""

MESSAGE_BYTES = PAYLOAD_BYTES + ENVELOPE_BYTES
