"""Benchmarks. None of them runs with the tests: ``python -m bench --help``, or ``pytest bench --benchmark-enable``."""

# May import: core.multiprocessing, core.data, audio, errors, _ring, nodes, client, service, service.config, testing
