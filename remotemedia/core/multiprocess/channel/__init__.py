"""Channels: where messages meet the ring, how both sides find each other, and how they wait.

A module belongs here if it moves messages or lends memory for them, in whatever process. Read on in ``publisher``
and ``subscriber``.
"""

# May import: kernel, core, _ring, errors, _rules, _telling, _event_loop
