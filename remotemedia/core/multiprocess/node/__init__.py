"""What a user writes, and the loop around it in the node's own process.

A module belongs here if it deals with a node as an object: what its class declares, how its ``process()`` is called,
what becomes of its failures. Read on in ``node``, then ``loop``.
"""

# May import: channel, values, core, _ring, errors, _naming, _rules, _telling
