"""How many callers in real time: ``python -m bench capacity``.

Everybody runs the same voice front end, three nodes of the same work (``work.py``), for callers that are on time
whatever happens (``callers.py``); their number is raised until the answers come too late (``search.py``).
"""
