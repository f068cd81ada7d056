"""The measurements, a question per file; each has ``measure(run)``."""
