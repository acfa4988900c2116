"""How to add something of one's own: a family, a combinator, a solver, an objective, an event kind.

Each page is an example that runs; nothing of the package is edited.
"""
