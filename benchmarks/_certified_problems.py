"""Designs whose largest rejection probability is known: regions, tests, exact values."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special as sp
import scipy.stats as st

import jaxmix as jm


class Problem(NamedTuple):
    name: str
    f: Any
    grid: Any  # a region
    draws: int
    exact: Any  # of one parameter, E f
    truth: float
    at_most: float  # what the mean of five certificates may be
    cells: int  # an axis of the plain grid of cells, near its best
    ends: tuple[float, float]
    axes: int
    centre: Any  # the density of a parameter, for the plain grid
    seen: Any = None


def normal_box(item, low, high, points, axes):
    """A stack over a box of means, `points` an axis."""
    line = jnp.linspace(low, high, points)
    function = lambda *means: item(means)
    for axis in reversed(range(axes)):
        function = jax.vmap(function, [0 if i == axis else None for i in range(axes)])
    return function(*[line] * axes)


def any_of(axes, draws, points, at_most, cells):
    if axes == 1:
        item, f = lambda means: jm.Normal(means[0], 1.0), lambda x: x > 1.96
    else:
        item = lambda means: jm.Composite([jm.Normal(m, 1.0) for m in means])
        f = lambda x: jnp.any(jnp.stack(x) > 1.96)
    exact = lambda means: 1 - np.prod(st.norm.cdf(1.96 - np.asarray(means)))
    return Problem(
        f"any of {axes} z tests", f, normal_box(item, -1, 0, points, axes), draws, exact,
        exact([0] * axes), at_most, cells, (-1, 0), axes, lambda means: item([*means]),
    )  # fmt: skip


def drop_the_loser():
    """Two arms, one observation each; the better one has another, and is tested."""
    item = lambda means: jm.Composite([jm.Repeated(jm.Normal(m, 1.0), 2) for m in means])
    critical = 2.2 * 2**0.5

    def f(x):
        return jnp.where(x[0][0] > x[1][0], jnp.sum(x[0]), jnp.sum(x[1])) > critical

    def seen(x):
        first = x[0][0] > x[1][0]
        there = jnp.asarray(True)
        return jnp.stack([there, first]), jnp.stack([there, ~first])

    z = np.linspace(-9, 9, 6001)

    def exact(means):
        a, b = means
        one = st.norm.pdf(z - a) * st.norm.cdf(z - b) * st.norm.sf(critical - z - a)
        two = st.norm.pdf(z - b) * st.norm.cdf(z - a) * st.norm.sf(critical - z - b)
        return np.trapezoid(one + two, z)

    return Problem(
        "drop the loser", f, normal_box(item, -2, 0, 17, 2), 1_000_000, exact, exact((0, 0)),
        0.0262, 12, (-2, 0), 2, lambda means: item([*means]), seen,
    )  # fmt: skip


def obrien_fleming(looks=4, constant=2.0243):
    """Four looks at a normal mean, O'Brien and Fleming's boundaries."""
    item = lambda means: jm.Repeated(jm.Normal(means[0], 1.0), looks)
    edges = constant * looks**0.5  # of the running sum

    def f(x):
        return jnp.any(jnp.cumsum(x) > edges)

    def seen(x):
        before = jnp.cumsum(x) - x
        return ~(jax.lax.cummax(before) > edges)

    def exact(means):
        """By integration of the sum's density below the boundary, look by look."""
        s = np.linspace(-14, edges, 4001)
        density, crossed = st.norm.pdf(s - means[0]), st.norm.sf(edges - means[0])
        kernel = st.norm.pdf(s[:, None] - s[None] - means[0])
        for _ in range(looks - 1):
            crossed += np.trapezoid(density * st.norm.sf(edges - s - means[0]), s)
            density = np.trapezoid(kernel * density[None], s, axis=1)
        return crossed

    return Problem(
        "O'Brien and Fleming, 4 looks", f, normal_box(item, -0.5, 0, 9, 1), 400_000, exact,
        exact([0.0]), np.inf, 8, (-0.5, 0), 1, lambda means: item([*means]), seen,
    )  # fmt: skip


def fisher(n=10, points=49):
    """Fisher's exact test over its whole null, p_1 <= p_2, logits in [-3, 3]."""
    table = np.array(
        [[st.fisher_exact([[a, n - a], [b, n - b]], "greater")[1] for b in range(n + 1)]
         for a in range(n + 1)]
    )  # fmt: skip
    rejected = table <= 0.05
    chosen = jnp.asarray(rejected)
    arm = lambda t: jm.Binomial(n, jax.nn.sigmoid(t))
    line = np.linspace(-3, 3, points)
    pairs = [(i, j) for i in range(points) for j in range(i, points)]
    index = {pair: k for k, pair in enumerate(pairs)}
    cells = [
        [index[i, j], index[i, j + 1], index[i + 1, j + 1]]
        for i in range(points - 1)
        for j in range(i, points - 1)
    ]
    cells += [
        [index[i, j], index[i + 1, j], index[i + 1, j + 1]]
        for i in range(points - 1)
        for j in range(i + 1, points - 1)
    ]
    stack = jax.vmap(lambda t: jm.Composite((arm(t[0]), arm(t[1]))))(
        jnp.asarray([(line[i], line[j]) for i, j in pairs], jnp.float32)
    )

    def exact(logits):
        a, b = (st.binom.pmf(np.arange(n + 1), n, sp.expit(t)) for t in logits)
        return a @ rejected @ b

    fine = np.linspace(-3, 3, 601)
    truth = max(exact((t, t)) for t in fine)
    return Problem(
        "Fisher's exact test", lambda x: chosen[x[0], x[1]],
        jm.importance.Simplices(stack, jnp.asarray(cells)), 860_000, exact, truth, 0.0222, 40,
        (-3, 3), 2, lambda t: jm.Composite((arm(t[0]), arm(t[1]))),
    )  # fmt: skip
