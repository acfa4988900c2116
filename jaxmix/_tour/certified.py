"""Chapter five: a design's largest rejection probability over all its null, with a proof."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from .. import importance, plot
from .._page import heading, save, table
from ..combinators import Composite
from ..families import Normal

DRAWS, PILOT, DELTA = 50_000, 4000, 0.01


def certified(folder: Path, num_draws: int = DRAWS) -> list[Path]:
    """Certify two z-tests at once over a square of means, and calibrate their threshold."""
    heading("Any of two z-tests: a bound for every pair of means in a square, proved")
    means = np.linspace(-1.0, 0.0, 5, dtype=np.float32)

    def pair(a, b):
        return Composite((Normal(a, 1.0), Normal(b, 1.0)))

    def largest(x):
        return jnp.maximum(x[0], x[1])

    def rejects(x):
        return largest(x) > 1.96

    square = jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(means, means)
    k_place, k_pilot, k_draws = jax.random.split(jax.random.key(2), 3)
    placed = importance.place(k_place, rejects, square, num_draws=PILOT)
    pilot, draws = (
        importance.draw(key, placed.proposals, importance.allocate(placed.weights, n))
        for key, n in ((k_pilot, PILOT), (k_draws, num_draws))
    )
    found = importance.certify(rejects, square, draws, delta=DELTA, pilot=pilot)
    print(f"{found}\n")

    def exact(a, b):
        return 1 - ndtr(1.96 - a) * ndtr(1.96 - b)

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
