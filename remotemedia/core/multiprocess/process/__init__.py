"""One child process, seen from outside: started, limited, talked to, listened to, ended.

Nothing here knows what the process does: a module belongs here if it would serve a process without a node as well.
Read on in ``spawn``, then ``child``.
"""

# May import: kernel, values, errors, _orphans, _install
