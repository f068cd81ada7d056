"""Messages: what they hold, how audio and video lie in their arrays, and how they are put into words.

``core.multiprocessing`` is the public door to everything that runs; ``core.multiprocess`` is the house behind it.
"""

# May import: errors, _telling
