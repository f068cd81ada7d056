"""What is measured, a question per file; each has ``measure(run)``."""
