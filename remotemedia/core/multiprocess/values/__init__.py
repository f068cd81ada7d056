"""Plain objects that say something: settings, progress, events, statistics, the names of loggers.

They are made in one room and read in another, and own no process, descriptor or memory. Read on in ``config``.
"""

# May import: errors, _naming, _rules, _python_rules, _event_loop, _ring
