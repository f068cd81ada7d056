"""Benchmarks: one question per file. None of them runs with the tests."""
