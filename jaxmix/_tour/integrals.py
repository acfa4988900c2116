"""Chapter three: many rejection probabilities from one set of draws, each with its error."""

from pathlib import Path

import jax
import numpy as np
from scipy.special import ndtr

from .. import importance, plot
from .._page import heading, save, table
from ..families import Normal

THRESHOLD = 1.96
PILOT, DRAWS = 500, 500


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
