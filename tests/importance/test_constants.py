"""Normalising constants of harmonic oscillators, whose free energies are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

imp = jm.importance
CENTRE = np.array([1.0, 2.0, 3.0, 4.0])
STIFF = np.array([0.5, 1.0, 1.5, 2.0])
COUNTS = np.array([1000, 500, 0, 800])
EXACT = -0.5 * np.log(STIFF / STIFF[0])


def table(seed):
    rng = np.random.default_rng(seed)
    x = np.concatenate(
        [rng.normal(c, k**-0.5, n) for c, k, n in zip(CENTRE, STIFF, COUNTS, strict=True)]
    )
    return -0.5 * STIFF * (x[:, None] - CENTRE) ** 2


def test_oscillators_within_their_errors():
    scores = []
    for seed in range(30):
        found = imp.normalising_constants(
            jnp.asarray(table(seed), jnp.float32), jnp.asarray(COUNTS)
        )
        assert bool(found.converged)
        scores.append((np.asarray(found.log_z) - EXACT)[1:] / np.asarray(found.std_error)[1:])
    scores = np.array(scores)
    assert np.abs(scores.mean(0)).max() < 4 / np.sqrt(30)
    assert 0.6 < scores.std() < 1.45


def test_equal_to_pymbar(x64):
    pymbar = pytest.importorskip("pymbar")
    energies = -table(0)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        peer = pymbar.MBAR(energies.T, COUNTS, solver_protocol="robust")
        theirs = peer.compute_free_energy_differences()
    found = imp.normalising_constants(jnp.asarray(-energies), jnp.asarray(COUNTS))
    np.testing.assert_allclose(-found.log_z, theirs["Delta_f"][0], atol=1e-6)
    np.testing.assert_allclose(found.std_error, theirs["dDelta_f"][0], atol=1e-6)


def test_gradient_is_the_mean_of_the_derivative():
    held = jnp.asarray(table(1), jnp.float32)

    def log_z(scale):  # of the third oscillator, of which there are no draws, stiffened
        return imp.normalising_constants(held.at[:, 2].multiply(scale), jnp.asarray(COUNTS)).log_z[
            2
        ]

    # log Z = -log(scale) / 2: derivatives -1/2 and 1/2.
    assert abs(jax.grad(log_z)(1.0) + 0.5) < 0.1
    assert abs(jax.grad(jax.grad(log_z))(1.0) - 0.5) < 0.25


def test_bridge_of_two_normals():
    a = jax.random.normal(jax.random.key(0), (3000,))
    b = 1 + 2 * jax.random.normal(jax.random.key(1), (1500,))
    log_p, log_q = lambda x: -0.5 * x**2, lambda x: -0.125 * (x - 1) ** 2
    found = imp.bridge(log_p(a), log_q(a), log_p(b), log_q(b))
    assert abs(found.log_z[1] - np.log(2)) < 4 * found.std_error[1] < 0.2
