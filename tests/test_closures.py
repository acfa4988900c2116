"""Calls outside jit: one program for all closures of the same code, and none that is out of date."""

import functools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix._closures import in_one_program

from .test_compilations import compilations

SHIFT = 1.0
TABLE = jnp.arange(3.0)


def shifted(x):
    return x + SHIFT


def looked_up(x):
    return x + TABLE[1]


class Program:
    """A body that counts its traces."""

    def __init__(self):
        self.traces = 0

    def __call__(self, function, x):
        self.traces += 1
        return function(x)


def test_fresh_closures_of_one_code_share_a_program():
    body, x = Program(), jnp.ones(2)
    held = {"a": [jnp.ones(2)], "b": None}

    def closure(scale, add=3.0):
        inner = lambda x, k=scale: x * k + add
        return functools.partial(lambda held, x: inner(x) + held["a"][0], held)

    for scale in (2.0, 5.0):
        found = in_one_program(body, (closure(jnp.asarray(scale)),), x)
        np.testing.assert_array_equal(found, np.full(2, scale + 4))
    assert body.traces == 1
    slope = jax.grad(lambda s: jnp.sum(in_one_program(body, (closure(s),), x)))(2.0)
    assert float(slope) == 2.0
    # Another number on the host is no argument of the program; what it gives must still be right.
    found = in_one_program(body, (closure(jnp.asarray(2.0), 4.0),), x)
    np.testing.assert_array_equal(found, np.full(2, 7.0))


def test_globals_are_read_at_each_call(monkeypatch):
    body, x = Program(), jnp.zeros(())
    assert float(in_one_program(body, (lambda x: shifted(looked_up(x)),), x)) == 2.0
    monkeypatch.setitem(globals(), "SHIFT", 5.0)
    assert float(in_one_program(body, (lambda x: shifted(looked_up(x)),), x)) == 6.0
    monkeypatch.setitem(globals(), "TABLE", jnp.arange(3.0) * 10)
    assert float(in_one_program(body, (lambda x: shifted(looked_up(x)),), x)) == 15.0


def test_what_changes_unseen_or_asks_for_values_is_not_compiled():
    class Box:
        value = 1.0

    box, x = Box(), jnp.zeros(())
    held = np.zeros(2, np.float32)
    both = lambda x: x + box.value + held[0]
    sign, body = jnp.asarray(-1.0), Program()
    assert float(in_one_program(body, (both,), x)) == 1.0
    box.value, held[0] = 2.0, 3.0
    assert float(in_one_program(body, (both,), x)) == 5.0
    assert float(in_one_program(body, (lambda x: x + 1 if sign > 0 else x - 1,), x)) == -1.0

    settings = types.ModuleType("settings_of_a_user")
    settings.shift = 1.0
    moved = lambda x: x + settings.shift
    assert float(in_one_program(body, (moved,), x)) == 1.0
    settings.shift = 4.0
    assert float(in_one_program(body, (moved,), x)) == 4.0

    def itself(x, n=2):
        return x if n == 0 else itself(x + 1, n - 1)

    assert float(in_one_program(body, (itself,), x)) == 2.0


def normal_pair(mean):
    model = lambda z, x: jm.Normal(mean, 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
    return model, lambda x: jm.Normal((x + mean) / 2, jnp.sqrt(0.5))


@pytest.mark.parametrize("objective", [jm.iwae(num_samples=2), jm.multilevel(max_level=2)], ids=str)
def test_a_loop_outside_jit_compiles_in_its_first_turn(objective):
    """The guide is the exact posterior: every value is log N(x; mean, 2)."""
    xs = np.array([-1.0, 2.0], np.float32)
    loss = lambda t, key: jnp.mean(objective(key, *normal_pair(t), xs))
    keys = list(jax.random.split(jax.random.key(0), 3))
    points = [jnp.asarray(t) for t in (0.3, 0.5, -1.0)]
    jitted = jax.jit(jax.value_and_grad(loss))
    slopes = [
        float(jitted(t, jax.random.clone(key))[1]) for t, key in zip(points, keys, strict=True)
    ]
    jax.value_and_grad(loss)(points[0], jax.random.clone(keys[0]))
    with compilations() as count:
        for i in (1, 2):
            value, slope = jax.value_and_grad(loss)(points[i], jax.random.clone(keys[i]))
            exact = -np.mean((xs - float(points[i])) ** 2) / 4 - math.log(4 * math.pi) / 2
            assert abs(float(value) - exact) < 1e-5
            assert abs(float(slope) - slopes[i]) < 1e-5
    assert not count
