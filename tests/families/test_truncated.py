"""The truncated normal far from its location and in thin intervals, in float32, against quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import jaxmix as jm

NODES, SIZES = (0.5 * a for a in np.polynomial.legendre.leggauss(400))
NODES = NODES + 0.5
CASES = [  # location, scale, interval
    (0.0, 1.0, 5.0, np.inf),
    (-40.0, 1.0, 0.0, np.inf),
    (-1e4, 1.0, 5.0, 6.0),
    (1e6, 1e3, -np.inf, 6.0),
    (40.0, 0.5, 5.0, 6.0),
    (0.0, 1e6, 5.0, 6.0),
    (1e4, 1e6, 0.0, 0.5),
    (5.25, 1.0, 5.0, 6.0),
    (0.0, 1.0, -1e30, 1e30),
    (-1e19, 1e15, 0.0, np.inf),
]


def quadrature(loc, scale, low, high, x):
    """Log-density and log-cdf at x, mean less the place of most density, variance: in float64."""
    place = min(max(loc, low), high)
    slope = (place - loc) / scale
    reach = 40 / max(abs(slope), 1)  # beyond, 1e-17 of the mass
    down, up = max((low - place) / scale, -reach), min((high - place) / scale, reach)

    def total(power, end=up):
        d = down + NODES * (end - down)
        return (end - down) * np.sum(SIZES * d**power * np.exp(-d * (0.5 * d + slope)))

    mass, d = total(0), (x - place) / scale
    mean = total(1) / mass
    return (
        -d * (0.5 * d + slope) - np.log(scale * mass),
        np.log(total(0, d) / mass),
        scale * mean,
        scale**2 * (total(2) / mass - mean**2),
        place,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_far_tails_and_thin_intervals(case):
    loc, scale, low, high = case
    density = jm.TruncatedNormal(loc, scale, low=low, high=high)
    loc, scale = float(density.loc), float(np.exp(np.float64(density.log_scale)))
    place = min(max(loc, low), high)
    steep = scale / max(abs(place - loc) / scale, 1)
    x = float(
        np.float32(place + 0.3 * min(steep, high - place) if low > -np.inf else place - steep)
    )
    level, below, mean, variance, place = quadrature(loc, scale, low, high, x)
    event = jnp.asarray(x)
    np.testing.assert_allclose(density.log_prob(event), level, rtol=2e-5, atol=2e-4)
    np.testing.assert_allclose(density.log_cdf(event), below, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(density.variance, variance, rtol=2e-4)
    np.testing.assert_allclose(density.mean, place + mean, rtol=1e-6, atol=1e-4 * variance**0.5)
    slopes = jax.jacfwd(jax.grad(lambda d: d.log_prob(event) + d.log_cdf(event)))(density)
    assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(slopes))
    draws = jax.vmap(density.sample)(jax.random.split(jax.random.key(0), 500))
    assert bool(((draws >= low) & (draws <= high)).all())
    rounding = 1e-6 * abs(place)
    assert (
        abs(float(np.mean(draws, dtype=float)) - place - mean)
        < 4 * np.sqrt(variance / 500) + rounding
    )


def test_draws_move_with_the_parameters_as_quantiles_do(x64):
    """The derivative of a draw is that of the quantile at its own level."""
    key = lambda: jax.random.key(3)
    draw = lambda loc, scale: jm.TruncatedNormal(loc, scale, low=0.5, high=4.0).sample(key())
    slopes = jax.grad(draw, (0, 1))(1.0, 2.0)
    level = float(jm.TruncatedNormal(1.0, 2.0, low=0.5, high=4.0).cdf(draw(1.0, 2.0)))
    at = lambda loc, scale: st.truncnorm((0.5 - loc) / scale, (4 - loc) / scale, loc, scale).ppf(
        level
    )
    steps = [(at(1 + 1e-5, 2) - at(1 - 1e-5, 2)) / 2e-5, (at(1, 2 + 1e-5) - at(1, 2 - 1e-5)) / 2e-5]
    np.testing.assert_allclose(slopes, steps, rtol=1e-6)
