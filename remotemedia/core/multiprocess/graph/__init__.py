"""Pipelines as graphs: nodes, connections, and everything that can be wrong with them before anything starts.

Nothing here runs a node. Read on in ``pipeline``.
"""

# May import: classes, node, core, errors, _naming, _rules, _python_rules, _telling
