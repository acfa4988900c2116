"""Chapters three and five: rejection probabilities, all from one set of draws, and proved bounds."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from .. import importance, plot
from .._page import heading, save, table
from ..combinators import Composite
from ..families import Normal

THRESHOLD = 1.96
PILOT, DRAWS = 500, 500
MANY_DRAWS, LARGE_PILOT, DELTA = 50_000, 4000, 0.01


def integrals(folder: Path) -> list[Path]:
    """Estimate P(x > 1.96) under N(theta, 1) for a grid of theta, against the exact values."""
    heading("A z-test's rejection probability, over a grid of parameters at once")
    thetas = jax.device_put(np.linspace(-2.0, 2.0, 9, dtype=np.float32))
    targets = jax.vmap(Normal, in_axes=(0, None))(thetas, 1.0)

    def rejects(x):
        return x > THRESHOLD

    k_pilot, k_draws = jax.random.split(jax.random.key(1))
    pilot = importance.adapt(k_pilot, rejects, targets, num_draws=PILOT, num_components=3)
    draws = importance.draw(k_draws, pilot.proposals, DRAWS)
    estimate = importance.imp_est(rejects, targets, draws)
    exact = ndtr(np.asarray(thetas) - THRESHOLD)
    print(f"{draws.num_draws} draws from {len(pilot)} adapted proposals serve every theta.")
    calls = draws.num_draws + pilot.calls
    print(f"Gain: the variance of {calls} plain draws (ours and the pilot's), shared out among")
    print("the thetas, over the variance of the estimate.\n")
    plain = exact * (1 - exact) / (calls / len(thetas))
    value, error = map(np.asarray, (estimate.value, estimate.std_error))
    columns = (thetas, exact, value, error, (value - exact) / error, plain / error**2)
    table(
        ("theta", "exact", "estimate", "std error", "z", "gain"),
        [
            (f"{t:.1f}", f"{p:.3e}", f"{v:.3e}", f"{e:.1e}", f"{one_z:+.2f}", f"{gain:.0f}")
            for t, p, v, e, one_z, gain in zip(*columns, strict=True)
        ],
    )
    return save(
        folder,
        {
            "rejection_estimates": lambda: plot.estimates(thetas, estimate, exact=exact),
            "rejection_proposals": lambda: plot.proposals(draws, event=rejects),
        },
    )


def certified(folder: Path, num_draws: int = MANY_DRAWS) -> list[Path]:
    """Certify two z-tests at once over a square of means, and calibrate their threshold."""
    heading("Any of two z-tests: a bound for every pair of means in a square, proved")
    means = np.linspace(-1.0, 0.0, 5, dtype=np.float32)

    def pair(a, b):
        return Composite((Normal(a, 1.0), Normal(b, 1.0)))

    def largest(x):
        return jnp.maximum(x[0], x[1])

    def rejects(x):
        return largest(x) > THRESHOLD

    square = jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(means, means)
    k_place, k_pilot, k_draws = jax.random.split(jax.random.key(2), 3)
    placed = importance.place(k_place, rejects, square, num_draws=LARGE_PILOT)
    pilot, draws = (
        importance.draw(key, placed.proposals, importance.allocate(placed.weights, n))
        for key, n in ((k_pilot, LARGE_PILOT), (k_draws, num_draws))
    )
    found = importance.certify(rejects, square, draws, delta=DELTA, pilot=pilot)
    print(f"{found}\n")

    def exact(a, b):
        return 1 - ndtr(THRESHOLD - a) * ndtr(THRESHOLD - b)

    corners = [(0, 0), (0, 4), (4, 4)]
    table(
        ("means", "truth", "estimate", "bound at the vertex"),
        [
            (
                f"{means[i]:.0f}, {means[j]:.0f}", f"{exact(means[i], means[j]):.5f}",
                f"{found.value[i, j]:.5f}", f"{found.vertex_upper[i, j]:.5f}",
            )
            for i, j in corners
        ],
    )  # fmt: skip
    options = {"alpha": 0.05, "delta": DELTA, "pilot": pilot}
    threshold = importance.calibrate(largest, square, draws, **options)
    print(f"\n{threshold}")
    return save(
        folder,
        {
            "certified_square": lambda: plot.certificate(
                found, means, means, truth=exact, names=("first mean", "second mean"),
            ),
            "certified_threshold": lambda: plot.threshold(threshold, largest, draws),
        },
    )  # fmt: skip
