"""Node types: the classes by their names, and how a class reaches the process that its node runs in.

It gets there by import, from a script that is run again, or by value if it is in no file. Read on in ``registry``,
then ``reference``.
"""

# May import: node, errors, _naming, _telling
