"""A warning points at the line of whoever called, however deep it arises."""

import inspect

import numpy as np
import pytest

import jaxmix as jm


def test_a_warning_names_the_callers_own_line():
    wide = np.linspace(0, 1, 6) + 1e6 + 0.1
    calls = [
        lambda: jm.em.step(jm.Normal(0.0, 1.0), wide),
        lambda: jm.sumo(),
        lambda: jm.encode(jm.Normal(0.0, 1.0), wide),
    ]
    for call in calls:
        with pytest.warns() as seen:
            call()
        lines, first = inspect.getsourcelines(call)
        assert seen[0].filename == __file__
        assert first <= seen[0].lineno < first + len(lines)
