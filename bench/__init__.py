"""Benchmarks. None of them runs with the tests: ``python -m bench --help``, or ``pytest bench --benchmark-enable``."""
