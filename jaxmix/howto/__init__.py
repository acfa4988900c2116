"""How to add something of one's own: a family, a combinator, a solver, an objective.

Each page is an example that runs; nothing is registered, and nothing of the package is edited.
"""
