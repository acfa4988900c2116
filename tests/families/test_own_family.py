"""A family of a user's own, written as its page says or not: what it is told, and when."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm


class Rayleigh(jm.ExponentialFamily):
    """log p(x) = log x - 2 log s - x^2 / (2 s^2), without `sample` and without `from_stats`."""

    log_scale: jax.Array
    ranks: ClassVar[dict[str, int]] = {"log_scale": 0}

    def stats(self, x, origin=None):
        return jm.Total(jnp.ones_like(x), x**2)

    def natural(self, origin=None):
        return jm.Total(-2 * self.log_scale, -0.5 * jnp.exp(-2 * self.log_scale))

    def log_base(self, x):
        return jnp.log(x)


def test_a_family_without_sample_is_asked_for_an_event_and_checked_at_it():
    density = Rayleigh(jnp.array(0.1))
    assert "`event`, or write `sample`" in str(jm.check_density(density))
    found = jm.check_density(density, jnp.array(1.5), throw=True)
    assert any("M-step" in check.asks for check in found.skipped)


class Quartic(Rayleigh):
    """<natural, stats> = x s - s^4 / 4, whose curvature at s = 0 is 0 and whose slope is not."""

    def stats(self, x, origin=None):
        return jm.Total(jnp.ones_like(x), x)

    def natural(self, origin=None):
        return jm.Total(-(self.log_scale**4) / 4, self.log_scale)

    def log_base(self, x):
        return jnp.zeros_like(x)


@pytest.mark.parametrize("start", [0.0, -1e-12])
def test_an_ascent_leaves_a_point_without_curvature(start):
    stats = jm.Total(jnp.array(3.0), jnp.array(6.0))
    found = Quartic(jnp.array(start)).from_stats(stats)
    np.testing.assert_allclose(found.log_scale, 2 ** (1 / 3), rtol=1e-5)


def test_classes_of_a_file_are_a_list(tmp_path):
    with pytest.raises(TypeError, match=r"such as classes=\[Rayleigh\]; it was the class Rayleigh"):
        jm.save(tmp_path / "model.npz", Rayleigh(jnp.array(0.0)), classes=Rayleigh)  # pyright: ignore
