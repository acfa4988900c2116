"""Warnings that point at the caller's own line, however deep in the package they arise."""

import sys
import warnings

# Whose frames lie between a caller and the place that warns: ours, and what wraps our functions.
BETWEEN = {__name__.split(".")[0], "jax", "equinox", "sklearn", "contextlib", "functools"}


def warn(sentence: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line outside the package: once a line, as Python's filters count."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, category, stacklevel=level)
