"""The search of a fit: starts, which of them go on, and all of it at once where rows are few."""
