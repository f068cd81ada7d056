"""What Linux gives: watched descriptors, descriptors over a socket, ``/proc``, control groups.

Nothing here knows of nodes or sessions: a module belongs here if it would serve any other program as well.
Read on in ``watch``.
"""

# May import: nothing
