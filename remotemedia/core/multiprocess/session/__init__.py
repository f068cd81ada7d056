"""Running pipelines: a session's processes and shared memory, from ``initialize()`` to the last ``wait``.

Everything meets here, and only here. Read on in ``session``, then ``supervisor`` and ``wiring``.
"""

# May import: graph, classes, node, channel, process, values, core, _ring, errors, _telling, _event_loop,
#   _install, _naming, _python_rules, environments
