"""Normalising constants solved from draws of many unnormalised densities (MBAR), and bridges."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Scalar

from .._arguments import numbers, optional, real, takes, whole
from .._compile import of_few_numbers
from .._log_sums import finite_or_zero, logsumexp
from .._pareto import pareto_k
from .._sharding import varying
from .checks import as_table, checked_counts, checked_efficiencies, least_of


class Constants(NamedTuple):
    """Log normalising constants, relative to the first density's.

    Attributes:
        log_z: log Z_k - log Z_0 in nats (minus the free energies).
        covariance: of `log_z`, asymptotic (k, k); the first row is 0. Infinite where a density
            has no common region with the first.
        std_error: its diagonal's square roots.
        converged: whether the equations are solved to rounding.
        num_steps: Newton steps.
        overlap: the largest eigenvalue of the overlap matrix but one: at 1 there are groups of
            densities without a common region.
        ess: effective number of all draws for each density's constant.
        pareto_k: tail shape of each density's weights over the mixture of all draws: above 0.7
            neither its constant nor its error can be trusted; inf with too few draws to tell.
        errors: standard errors of all differences log_z[i] - log_z[j] (k, k): infinite for pairs
            without a common region, even through others, whose difference is unknown.
    """

    log_z: Float[Array, " k"]
    covariance: Float[Array, "k k"]
    std_error: Float[Array, " k"]
    converged: Bool[Array, ""]
    num_steps: Int[Array, ""]
    overlap: Scalar
    ess: Float[Array, " k"]
    pareto_k: Float[Array, " k"]
    errors: Float[Array, "k k"]

    def difference_error(self) -> Float[Array, "k k"]:
        """Standard errors of log_z[i] - log_z[j]."""
        return self.errors

    def problems(self) -> list[str]:
        """Sentences on what is wrong, from the worst; empty if nothing was seen to be."""
        found, apart = [], np.isinf(np.asarray(self.errors))
        bad = np.flatnonzero(~np.isfinite(np.asarray(self.log_z)))
        if bad.size:
            found.append(f"densities {bad.tolist()}: log_z is not finite; no draw reached them.")
        if apart.any():
            groups = sorted({tuple(np.flatnonzero(~row).tolist()) for row in apart})
            listed = " | ".join(", ".join(map(str, group)) for group in groups)
            found.append(
                f"densities {listed} have no common region: the constants of one group beside "
                "those of another are unknown. Add densities between them."
            )
        if not bool(self.converged):
            found.append(
                f"the equations were not solved in {int(self.num_steps)} steps; raise max_steps, "
                "or use float64."
            )
        k = np.asarray(self.pareto_k)
        for sentence, which in (
            ("Pareto k above 0.7; constant and error cannot be trusted.", (k > 0.7) & (k < np.inf)),
            ("too few draws of weight to tell whether its error can be trusted.", k == np.inf),
        ):
            if which.any():
                found.append(f"densities {np.flatnonzero(which).tolist()}: {sentence}")
        return found


@takes(log_table=numbers(2), counts=numbers(1), max_steps=whole(1), tol=optional(real(0)))
def normalising_constants(
    log_table: Float[Array, "n k"],
    counts: Int[Array, " k"],
    *,
    max_steps: int = 100,
    tol: float | None = None,
    r_eff: float | Float[Array, " k"] = 1.0,
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
        tol: on the relative error of the equations; None for a multiple of the rounding unit and
            of the size of the logarithms, of which it is a part.
        r_eff: effective draws a draw, below 1 for Markov chains, one number or one for each density:
            what its draws add to the covariance is divided by it, `ess` is so many draws, and
            tails are longer.

    Raises:
        ValueError: if the shapes do not fit, the counts do not add up, or the table holds NaN.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> x = jax.random.normal(jax.random.key(0), (2000, 1)) * jnp.array([1.0, 0.5])
        >>> energies = jnp.stack([x.T.ravel() ** 2 / 2, 2 * x.T.ravel() ** 2])
        >>> found = jm.importance.normalising_constants(-energies.T, jnp.array([2000, 2000]))
        >>> bool(abs(found.log_z[1] + jnp.log(2.0)) < 4 * found.std_error[1])
        True
    """
    log_table = as_table(log_table, "log_table")
    counts = checked_counts(counts, *log_table.shape).astype(log_table.dtype)
    each, least = checked_efficiencies(r_eff, counts.size, counts.dtype), least_of(r_eff)
    return _solve(log_table, counts, max_steps, tol, each, least)


@of_few_numbers
def _solve(log_table, counts, max_steps, tol, r_eff, least: float) -> Constants:
    held = jax.lax.stop_gradient(log_table)
    # A constant added to a column moves its log_z by just itself: taken out, it costs no digits.
    peak = jnp.max(held, 0)
    peak = finite_or_zero(peak)
    log_table, held = log_table - peak[None, :], held - peak[None, :]
    log_counts = jnp.log(counts)
    dtype, size = held.dtype, counts.shape[0]
    eps = jnp.finfo(dtype).eps

    def log_mix(f):
        return logsumexp(held + (log_counts - f)[None, :])

    def sweep(f):
        new = logsumexp(held - log_mix(f)[:, None], 0)
        return new - new[0]

    def shares(f):
        """Probability that draw n came from density k, given where it fell."""
        return jnp.exp(held + (log_counts - f)[None, :] - log_mix(f)[:, None])

    def objective(f):  # convex; its minimum solves the equations
        return jnp.sum(log_mix(f)) / jnp.sum(counts) + jnp.sum(counts * f) / jnp.sum(counts)

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

    f = jax.lax.fori_loop(0, 5, lambda _, f: sweep(f), varying(sweep, jnp.zeros_like(log_counts)))
    # A share is known to the rounding of the logarithms that it is made from.
    large = 1 + jnp.mean(jnp.abs(log_mix(f)))
    tol = 50 * eps * large if tol is None else jnp.asarray(tol, dtype)
    start = (f, 0 * f[0] + jnp.inf, jnp.zeros_like(f[0], int), f[0] == f[0])
    f, error, steps, _ = jax.lax.while_loop(running, newton, varying(newton, start))
    log_q = jax.lax.stop_gradient(log_mix(f))
    inside = held > -jnp.inf
    ratios = jnp.where(inside, jnp.where(inside, log_table, 0) - log_q[:, None], -jnp.inf)
    log_z = logsumexp(ratios, 0)
    known = jnp.where(jnp.isfinite(log_z), log_z, jnp.zeros_like(log_z))
    log_w = jax.lax.stop_gradient(ratios - known[None, :])
    w = jnp.exp(log_w)
    # What a draw counts for: by the densities that it may have come from, whatever their order.
    rarity = None if r_eff is None else jnp.matmul(w, counts / r_eff, precision="highest")
    covariance, overlap, square = _covariance(w, counts, r_eff, rarity)
    errors = jnp.sqrt(square)
    ess = 1 / jnp.sum(w**2 if rarity is None else w**2 * rarity[:, None], 0)
    k = jax.lax.map(lambda column: pareto_k(column, r_eff=least), log_w.T)
    log_z = log_z + peak
    return Constants(
        log_z - log_z[0],
        covariance,
        errors[0],
        error <= jnp.maximum(tol, 1e3 * eps * large),
        steps,
        overlap,
        jnp.where(jnp.isfinite(ess), ess, jnp.zeros_like(ess)),
        k,
        errors,
    )


def _covariance(w, counts, r_eff, rarity):
    """Asymptotic covariance of log Z (Shirts and Chodera 2008, eq. D6), relative to the first.

    (I - G N)^+ B (I - N G)^+ with G = W'W and B = W' diag(rarity) W - G diag(n_k / r_k) G, which of
    independent draws is (I - G N) G.
    """
    gram = jnp.matmul(w.T, w, precision="highest")
    values, vectors = jnp.linalg.eigh(gram)
    root = jnp.sqrt(jnp.maximum(values, jnp.zeros_like(values)))
    scaled = vectors * root[None, :]  # V Sigma, so that W'W is its square
    inner = jnp.matmul(scaled.T, counts[:, None] * scaled, precision="highest")
    eye = jnp.eye(counts.shape[0], dtype=w.dtype)
    # I - inner has one null direction, the common factor of all constants, and one more for each
    # further group of densities without a common region.
    levels, axes = jnp.linalg.eigh(eye - inner)
    cut = 1e3 * jnp.finfo(w.dtype).eps * jnp.maximum(jnp.max(levels), 1)
    kept = levels > cut
    inverse = jnp.where(kept, 1 / jnp.where(kept, levels, jnp.ones_like(levels)), 0)
    half = jnp.matmul(scaled, axes, precision="highest")
    theta = jnp.matmul(half * inverse[None, :], half.T, precision="highest")
    if r_eff is not None:
        some = root > jnp.sqrt(jnp.finfo(w.dtype).eps) * jnp.max(root)
        basis = vectors * jnp.where(some, 1 / jnp.where(some, root, 1), 0)[None, :]
        basis = jnp.matmul(w, jnp.matmul(basis, axes, precision="highest"), precision="highest")
        spread = jnp.matmul((rarity[:, None] * basis).T, basis, precision="highest")
        spread = spread - jnp.matmul(half.T, (counts / r_eff)[:, None] * half, precision="highest")
        root_theta = half * inverse[None, :]
        theta = jnp.matmul(
            jnp.matmul(root_theta, spread, precision="highest"), root_theta.T, precision="highest"
        )
    relative = theta - theta[:1] - theta[:, :1] + theta[0, 0]
    # A null direction is constant over each group; sum_k n_k half_k^2 = 1 sets its size.
    still = jnp.where(kept[None, :], 0, half) * jnp.sqrt(jnp.sum(counts))
    apart = jnp.max(jnp.abs(still[:, None, :] - still[None, :, :]), 2) > 0.01
    apart = apart | (jnp.sum(w, 0) == 0)[:, None] & ~jnp.eye(counts.shape[0], dtype=bool)
    apart = apart | apart.T
    diagonal = jnp.diagonal(theta)
    square = jnp.maximum(diagonal[:, None] + diagonal[None, :] - 2 * theta, 0)
    first = apart[0]
    relative = jnp.where(first[:, None] & first[None, :], jnp.inf, relative)
    relative = jnp.where(first[:, None] ^ first[None, :], 0, relative)
    overlap = jnp.sort(1 - levels)[-2] if counts.shape[0] > 1 else jnp.ones((), w.dtype)
    return relative, overlap, jnp.where(apart, jnp.inf, square)


@takes(log_p_at_p=numbers(), log_q_at_p=numbers(), log_p_at_q=numbers(), log_q_at_q=numbers())
def bridge(
    log_p_at_p: Float[Array, " n"],
    log_q_at_p: Float[Array, " n"],
    log_p_at_q: Float[Array, " m"],
    log_q_at_q: Float[Array, " m"],
    *,
    r_eff: float | Float[Array, " 2"] = 1.0,
) -> Constants:
    """Log Z_q - log Z_p of two unnormalised densities by the optimal bridge.

    Meng and Wong (1996); Bennett's acceptance ratio. It is `normalising_constants` of two.

    Args:
        log_p_at_p: log p at draws of p.
        log_q_at_p: log q at draws of p.
        log_p_at_q: log p at draws of q.
        log_q_at_q: log q at draws of q.
        r_eff: effective draws a draw of both, or of p and of q, as in `normalising_constants`.

    Raises:
        ValueError: if the four are no vectors in two pairs of one length.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> a = jax.random.normal(jax.random.key(0), (4000,))
        >>> b = 2 * jax.random.normal(jax.random.key(1), (4000,))
        >>> found = jm.importance.bridge(-(a**2) / 2, -(a**2) / 8, -(b**2) / 2, -(b**2) / 8)
        >>> bool(abs(found.log_z[1] - jnp.log(2.0)) < 4 * found.std_error[1])
        True
    """
    vectors = [jnp.asarray(a) for a in (log_p_at_p, log_q_at_p, log_p_at_q, log_q_at_q)]
    shapes = [a.shape for a in vectors]
    if any(a.ndim != 1 for a in vectors) or shapes[0] != shapes[1] or shapes[2] != shapes[3]:
        raise ValueError(
            "bridge takes vectors: log p and log q at the draws of p, then both at the draws of "
            f"q; their shapes are {shapes}."
        )
    at_p, at_q = jnp.stack(vectors[:2], 1), jnp.stack(vectors[2:], 1)
    table = as_table(jnp.concatenate([at_p, at_q]), "log p and log q")
    counts = jnp.array([at_p.shape[0], at_q.shape[0]])
    return normalising_constants(table, counts, r_eff=r_eff)
