"""Normalising constants solved from draws of many unnormalised densities (MBAR), and bridges."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from .._numerics import logsumexp


class Constants(NamedTuple):
    """Log normalising constants, relative to the first density's.

    Attributes:
        log_z: log Z_k - log Z_0 in nats (minus the free energies).
        covariance: of `log_z`, asymptotic (k, k); the first row is 0.
        std_error: its diagonal's square roots.
        converged: whether the equations are solved to rounding.
        num_steps: Newton steps.
        overlap: the largest eigenvalue of the overlap matrix but one: at 1 there are groups of
            densities without a common region, and the errors mean nothing.
    """

    log_z: Float[Array, " k"]
    covariance: Float[Array, "k k"]
    std_error: Float[Array, " k"]
    converged: Bool[Array, ""]
    num_steps: Int[Array, ""]
    overlap: Scalar

    def difference_error(self) -> Float[Array, "k k"]:
        """Standard errors of log_z[i] - log_z[j]."""
        diagonal = jnp.diagonal(self.covariance)
        square = diagonal[:, None] + diagonal[None, :] - 2 * self.covariance
        return jnp.sqrt(jnp.maximum(square, jnp.zeros_like(square)))


def normalising_constants(
    log_table: Float[Array, "n k"],
    counts: Int[Array, " k"],
    *,
    max_steps: int = 100,
    tol: float | None = None,
) -> Constants:
    """Constants of unnormalised densities from draws of some of them, all at once.

    Z_k = sum_n exp(L_nk) / sum_m n_m exp(L_nm) / Z_m: the maximum likelihood of Vardi (1985) and
    Kong et al. (2003), MBAR of Shirts and Chodera (2008, arXiv:0801.1426), whose asymptotic
    covariance it gives. Densities without draws (count 0) are welcome.

    Gradients in the table are those of the expectations, of every order: the densities of
    the draws are held as proposals, and each Z_k is their estimate of the integral of exp(L_k).

    Args:
        log_table: unnormalised log-densities of all draws under all densities, from any source
            (minus reduced energies), -inf where a density is 0.
        counts: how many draws came from each density; their order in the table is free.
        max_steps: most Newton steps.
        tol: on the relative error of the equations; None for a multiple of the rounding unit.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jax.random.normal(jax.random.key(0), (2000, 1)) * jnp.array([1.0, 0.5])
        >>> energies = jnp.stack([x.T.ravel() ** 2 / 2, 2 * x.T.ravel() ** 2])
        >>> found = jm.importance.normalising_constants(-energies.T, jnp.array([2000, 2000]))
        >>> bool(abs(found.log_z[1] + jnp.log(2.0)) < 4 * found.std_error[1])
        True
    """
    counts = jnp.asarray(counts)
    if log_table.ndim != 2 or counts.shape != log_table.shape[1:]:
        raise ValueError(
            "log_table must be (n, k) with k counts; the shapes are "
            f"{log_table.shape} and {counts.shape}."
        )
    return _solve(log_table, counts.astype(log_table.dtype), max_steps, tol)


@eqx.filter_jit
def _solve(log_table, counts, max_steps, tol) -> Constants:
    held = jax.lax.stop_gradient(log_table)
    log_counts = jnp.log(counts)
    dtype, size = held.dtype, counts.shape[0]
    eps = jnp.finfo(dtype).eps
    tol = 50 * eps if tol is None else tol

    def log_mix(f):
        return logsumexp(held + (log_counts - f)[None, :])

    def sweep(f):
        new = logsumexp(held - log_mix(f)[:, None], 0)
        return new - new[0]

    def shares(f):
        """Probability that draw n came from density k, given where it fell."""
        return jnp.exp(held + (log_counts - f)[None, :] - log_mix(f)[:, None])

    def objective(f):  # convex; its minimum solves the equations
        return jnp.sum(log_mix(f)) / jnp.sum(counts) + jnp.dot(counts, f) / jnp.sum(counts)

    def newton(state):
        f, _, steps, _ = state
        p = shares(f)
        total = jnp.sum(p, 0)
        slope = counts - total
        hessian = jnp.diag(total) - jnp.matmul(p.T, p, precision="highest")
        # The first drawn density's constant is held; densities without draws do not enter.
        free = (counts > 0) & (jnp.cumsum(counts) > counts)
        both = free[:, None] & free[None, :]
        matrix = jnp.where(both, hessian, jnp.eye(size, dtype=dtype))
        step = jnp.linalg.solve(matrix, jnp.where(free, slope, jnp.zeros_like(slope)))
        moved, swept = f - step, sweep(f)
        better = objective(moved) <= objective(swept)
        new = jnp.where(better & jnp.all(jnp.isfinite(moved)), moved, swept)
        error = jnp.max(jnp.abs(slope) / jnp.maximum(counts, jnp.ones_like(counts)))
        return new, error, steps + 1, jnp.isfinite(error) & (error > tol)

    def running(state):
        return state[-1] & (state[-2] < max_steps)

    f = jax.lax.fori_loop(0, 5, lambda _, f: sweep(f), jnp.zeros(size, dtype))
    start = (f, jnp.asarray(jnp.inf, dtype), jnp.zeros((), int), jnp.asarray(True))
    f, error, steps, _ = jax.lax.while_loop(running, newton, start)
    log_q = jax.lax.stop_gradient(log_mix(f))
    inside = held > -jnp.inf
    ratios = jnp.where(inside, jnp.where(inside, log_table, 0) - log_q[:, None], -jnp.inf)
    log_z = logsumexp(ratios, 0)
    log_z = log_z - log_z[0]
    covariance, overlap = _covariance(
        jnp.exp(jax.lax.stop_gradient(ratios - log_z[None, :])), counts
    )
    return Constants(
        log_z,
        covariance,
        jnp.sqrt(jnp.diagonal(covariance)),
        error <= jnp.maximum(jnp.asarray(tol, dtype), 1e3 * eps),
        steps,
        overlap,
    )


def _covariance(w, counts):
    """Asymptotic covariance of log Z (Shirts and Chodera 2008, eq. D6), relative to the first."""
    w = w / jnp.sum(w, 0, keepdims=True)
    gram = jnp.matmul(w.T, w, precision="highest")
    values, vectors = jnp.linalg.eigh(gram)
    root = jnp.sqrt(jnp.maximum(values, jnp.zeros_like(values)))
    scaled = vectors * root[None, :]  # V Sigma, so that W'W is its square
    inner = jnp.matmul(scaled.T, counts[:, None] * scaled, precision="highest")
    eye = jnp.eye(counts.shape[0], dtype=w.dtype)
    # I - inner has one null direction, the common factor of all constants.
    levels, axes = jnp.linalg.eigh(eye - inner)
    cut = 1e3 * jnp.finfo(w.dtype).eps * jnp.max(levels)
    kept = levels > cut
    inverse = jnp.where(kept, 1 / jnp.where(kept, levels, jnp.ones_like(levels)), 0)
    half = jnp.matmul(scaled, axes, precision="highest")
    theta = jnp.matmul(half * inverse[None, :], half.T, precision="highest")
    relative = theta - theta[:1] - theta[:, :1] + theta[0, 0]
    overlap = jnp.sort(1 - levels)[-2] if counts.shape[0] > 1 else jnp.ones((), w.dtype)
    return relative, overlap


def bridge(
    log_p_at_p: Float[Array, " n"],
    log_q_at_p: Float[Array, " n"],
    log_p_at_q: Float[Array, " m"],
    log_q_at_q: Float[Array, " m"],
) -> Constants:
    """Log Z_q - log Z_p of two unnormalised densities by the optimal bridge.

    Meng and Wong (1996); Bennett's acceptance ratio. It is `normalising_constants` of two.

    Args:
        log_p_at_p: log p at draws of p.
        log_q_at_p: log q at draws of p.
        log_p_at_q: log p at draws of q.
        log_q_at_q: log q at draws of q.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> a = jax.random.normal(jax.random.key(0), (4000,))
        >>> b = 2 * jax.random.normal(jax.random.key(1), (4000,))
        >>> found = jm.importance.bridge(-(a**2) / 2, -(a**2) / 8, -(b**2) / 2, -(b**2) / 8)
        >>> bool(abs(found.log_z[1] - jnp.log(2.0)) < 4 * found.std_error[1])
        True
    """
    at_p = jnp.stack([log_p_at_p, log_q_at_p], 1)
    at_q = jnp.stack([log_p_at_q, log_q_at_q], 1)
    counts = jnp.array([at_p.shape[0], at_q.shape[0]])
    return normalising_constants(jnp.concatenate([at_p, at_q]), counts)
