"""Priors as pseudo-statistics: the laws of each family, and which density of a model has which."""
