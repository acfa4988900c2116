"""Normalising constants and smoothed weights, against pymbar and arviz on the same numbers.

Two systems of harmonic oscillators: free energies and their errors must agree with pymbar's to
1e-6, in double precision, and with the analytic ones within 4 standard errors. Then log-weights
with tails of known shape: Pareto k and smoothed log-weights beside those of arviz.

    python -m benchmarks.importance.constants
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm

SYSTEMS = {
    "overlapping": (np.arange(5.0), np.array([1.0, 2, 4, 8, 16]), np.full(5, 1000)),
    "one without draws": (
        np.arange(1.0, 5.0),
        np.array([0.5, 1.0, 1.5, 2.0]),
        np.array([1000, 500, 0, 800]),
    ),
}


def constants():
    try:
        import pymbar
    except ImportError:
        pymbar = None
        print("pymbar is not installed: no peer.")
    for name, (centre, stiff, counts) in SYSTEMS.items():
        rng = np.random.default_rng(2)
        x = np.concatenate(
            [rng.normal(c, s**-0.5, n) for c, s, n in zip(centre, stiff, counts, strict=True)]
        )
        energies = 0.5 * stiff[:, None] * (x[None] - centre[:, None]) ** 2
        start = time.perf_counter()
        ours = jm.importance.normalising_constants(jnp.asarray(-energies.T), jnp.asarray(counts))
        free, error = -np.asarray(ours.log_z), np.asarray(ours.std_error)
        seconds = time.perf_counter() - start
        z = np.abs(free - 0.5 * np.log(stiff / stiff[0]))[1:] / error[1:]
        print(f"{name}: largest |z| to the analytic free energies {z.max():.2f} (bar 4)")
        if pymbar is not None:
            start = time.perf_counter()
            peer = pymbar.MBAR(energies, counts, solver_protocol="robust")
            theirs = peer.compute_free_energy_differences()
            print(
                f"  to pymbar's: {np.abs(free - theirs['Delta_f'][0]).max():.1e} (bar 1e-6), errors "
                f"{np.abs(error - theirs['dDelta_f'][0]).max():.1e}; {seconds:.2f} s here with "
                f"compiling, {time.perf_counter() - start:.2f} s there"
            )


def smoothing():
    try:
        from arviz_stats.base import array_stats
    except ImportError:
        array_stats = None
        print("arviz is not installed: no peer.")
    rng = np.random.default_rng(3)
    for k in (0.2, 0.5, 0.8, 1.2):
        raw = k * rng.exponential(size=4000)  # weights are Pareto(1 / k)
        smooth, found = jm.importance.psis(jnp.asarray(raw))
        line = f"tail of shape {k}: k {float(found):.4f}"
        if array_stats is not None:
            theirs, their_k = array_stats.psislw(-raw)  # of log-likelihoods
            mine = np.asarray(smooth) - np.logaddexp.reduce(np.asarray(smooth))
            theirs = theirs - np.logaddexp.reduce(theirs)
            line += f", arviz {float(their_k):.4f}; log-weights differ by {np.abs(mine - theirs).max():.1e}"
        print(line)


if __name__ == "__main__":
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}, float64")
    with jax.enable_x64(True):
        constants()
        smoothing()
