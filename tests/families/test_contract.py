"""What every family keeps: one suite over the registry."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix._exponential import ExponentialFamily
from jaxmix.em.expected import expect

from .registry import CASES, named

every = pytest.mark.parametrize("case", CASES, ids=named)
refitted = pytest.mark.parametrize("case", [c for c in CASES if c.fitted], ids=named)


# Whole computations under `jit`: an operation at a time would compile one at a time.
many_log_probs = eqx.filter_jit(lambda density, xs: jax.vmap(density.log_prob)(xs))


def log_probs(density, values):
    return np.asarray(many_log_probs(density, jnp.asarray(values)))


@functools.cache
def _draws(name):
    density = next(case.make() for case in CASES if case.name == name)
    keys = jax.random.split(jax.random.key(0), 4000)
    return np.asarray(eqx.filter_jit(lambda d, ks: jax.vmap(d.sample)(ks))(density, keys))


def draws(case, start, stop):
    """Some of 4,000 draws in double precision, made once a family."""
    return jnp.asarray(_draws(case.name)[start:stop])


# Of 40 events wherever any number will do: one program a family.
each_stats = eqx.filter_jit(
    lambda density, xs, origin=None: jax.vmap(lambda x: density.stats(x, origin))(xs)
)


def total_stats(density, xs, origin=None):
    each = each_stats(density, xs, origin)
    return jax.tree.map(lambda a: jnp.asarray(np.sum(a, 0)), each)


recentre = eqx.filter_jit(lambda density, stats, old, new: density.recentre(stats, old, new))
refit = eqx.filter_jit(lambda density, stats, origin: density.from_stats(stats, origin))


def perturbed(density, size):
    """The density with each of its parameters in turn moved a little."""
    leaves, structure = jax.tree.flatten(density)
    for i, leaf in enumerate(leaves):
        for index in np.ndindex(leaf.shape):
            for step in (size, -size):
                moved = np.array(leaf)
                moved[index] += step
                yield structure.unflatten([*leaves[:i], jnp.asarray(moved), *leaves[i + 1 :]])


def integral(case, values):
    """Of values (rows, ...) over the family's grid."""
    if case.discrete:
        return values.sum(0)
    if case.area is not None:
        return np.tensordot(case.area, values, 1)
    return np.trapezoid(values, case.grid, axis=0)


@every
def test_mass_is_one(case, x64):
    mass = np.exp(log_probs(case.make(), case.grid))
    assert abs(integral(case, mass) - 1) < case.tolerance


@every
def test_equals_scipy(case, x64):
    if case.scipy is None:
        pytest.skip("scipy has no such family")
    values = case.grid[:: max(1, len(case.grid) // 50)]
    reference = case.scipy.logpmf(values) if case.discrete else case.scipy.logpdf(values)
    seen = reference > -500  # beyond, scipy takes the logarithm of a density that underflows
    got = log_probs(case.make(), case.grid)[:: max(1, len(case.grid) // 50)]
    np.testing.assert_allclose(got[seen], reference[seen], rtol=1e-8, atol=1e-9)


@refitted
def test_a_leaf_is_placed_about_another_origin(case):
    density = case.make()
    moved = None if density.origin is None else 1.5 * density.origin
    if density.about is not None:
        np.testing.assert_allclose(
            density.placed_at(moved).placed_at(density.origin).origin, density.origin, rtol=1e-6
        )


@refitted
def test_dtypes_are_kept(case, dtype):
    density = case.make()

    def whole(density, keys):
        xs = jax.vmap(density.sample)(keys)
        stats = jax.vmap(lambda x: density.stats(x, density.origin))(xs)
        stats = jax.tree.map(lambda a: jnp.sum(a, 0), stats)
        under = jax.vmap(density.log_prob)(xs)
        return under, stats, density.from_stats(stats, density.origin)

    under, stats, new = jax.eval_shape(whole, density, jax.random.split(jax.random.key(0), 40))
    assert under.dtype == dtype
    zeros = density.zero_stats()
    assert jax.tree.structure(stats) == jax.tree.structure(zeros)
    for summed, zero in zip(jax.tree.leaves(stats), jax.tree.leaves(zeros), strict=True):
        assert summed.dtype == zero.dtype == dtype and summed.shape == zero.shape
    assert all(a.dtype == dtype for a in jax.tree.leaves(new))
    assert jax.tree.structure(new) == jax.tree.structure(density)


@refitted
def test_gradient_is_the_slope(case, x64):
    density = case.make()
    xs = draws(case, 0, 5)
    value = eqx.filter_jit(lambda d: jnp.sum(jax.vmap(d.log_prob)(xs)))
    slope = eqx.filter_jit(jax.grad(value))(density)
    slopes = np.concatenate([np.ravel(g) for g in jax.tree.leaves(slope)])
    step = 1e-6
    moved = [float(value(d)) for d in perturbed(density, step)]
    numeric = (np.array(moved[::2]) - np.array(moved[1::2])) / (2 * step)
    np.testing.assert_allclose(slopes, numeric, rtol=1e-5, atol=1e-6)


@every
def test_off_the_support(case, x64):
    density = case.make()
    stats = lambda d, x: d.stats(x) if hasattr(d, "stats") else None
    slope = lambda d, x: eqx.filter_grad(lambda d: d.log_prob(x))(d)
    of = eqx.filter_jit(lambda d, x: (d.log_prob(x), slope(d, x), stats(d, x)))
    for x in case.off:
        log_prob, *rest = of(density, jnp.asarray(x))
        assert log_prob == -jnp.inf
        assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(rest))
    if not case.discrete:
        nowhere = np.array(case.grid, float)
        nowhere[0] = np.nan
        assert np.isnan(log_probs(density, nowhere)[0])


@refitted
def test_refit_maximises_the_likelihood(case, x64):
    xs = draws(case, 0, 300)

    def step(_, density):
        each = jax.vmap(lambda x: density.stats(x, density.origin))(xs)
        stats = jax.tree.map(lambda a: jnp.sum(a, 0), each)
        return density.from_stats(stats, density.origin)

    fitted = eqx.filter_jit(lambda d: jax.lax.fori_loop(0, case.em_steps, step, d))(case.make())
    value = eqx.filter_jit(lambda d: jnp.sum(jax.vmap(d.log_prob)(xs)))
    best = float(value(fitted))
    free = fitted
    for other in perturbed(free, 1e-2):
        if getattr(case.make(), "fixed_df", False) and other.log_df != fitted.log_df:
            continue
        assert float(value(other)) <= best + 1e-9


@every
def test_samples_are_of_the_family(case, x64):
    density = case.make()
    xs = np.asarray(draws(case, 0, 4000), dtype=np.float64)
    if case.area is not None:
        mass = np.exp(log_probs(density, case.grid))
        mean = integral(case, case.grid * mass.reshape(-1, *[1] * (case.grid.ndim - 1)))
        assert np.all(np.abs(xs.mean(0) - mean) < 4.5 * xs.std(0) / np.sqrt(len(xs)))
    elif case.scipy is not None and not case.discrete:
        reference = np.sort(case.scipy.cdf(xs))
        steps = (np.arange(len(xs)) + 0.5) / len(xs)
        # The Kolmogorov-Smirnov statistic exceeds this once in 30,000 times.
        assert np.sqrt(len(xs)) * np.max(np.abs(reference - steps)) < 2.3
    if case.discrete:
        probs = np.exp(log_probs(density, case.grid))
        rows = case.grid.reshape(len(case.grid), -1)
        seen = (xs.reshape(len(xs), 1, -1) == rows[None]).all(-1).mean(0)
        error = np.sqrt(probs * (1 - probs) / len(xs)) + 1 / len(xs)
        assert np.all(np.abs(seen - probs) < 4.5 * error)


@every
def test_mean_and_variance(case, x64):
    density = case.make()
    if not {"mean", "variance"} <= {*dir(type(density)), *density.__dataclass_fields__}:
        pytest.skip("no mean, or no variance")
    moments = eqx.filter_jit(lambda d: (d.mean, d.variance))(density)
    values, mass = case.grid.astype(float), np.exp(log_probs(density, case.grid))
    mass = mass.reshape(mass.shape + (1,) * (values.ndim - 1))
    mean = integral(case, values * mass)
    np.testing.assert_allclose(moments[0], mean, rtol=2e-3)
    variance = integral(case, (values - mean) ** 2 * mass)
    np.testing.assert_allclose(moments[1], variance, rtol=2e-2)


@refitted
def test_stacks_refit_as_their_members(case, x64):
    density = case.make()
    parts = [draws(case, 0, 40), draws(case, 40, 80)]
    single = [total_stats(density, xs, density.origin) for xs in parts]
    stacked = jax.tree.map(lambda *a: jnp.asarray(np.stack(a)), *single)
    stack = jm.mixture_of(density, 2).components
    together = refit(stack, stacked, stack.origin)
    assert together.stack_shape == (2,)
    for k in range(2):
        alone = refit(density, single[k], density.origin)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-9)
    floor, bound = eqx.filter_jit(
        lambda d, s: (d.floor(s, jnp.asarray(1e-9)), d.on_boundary(d.floor(s, jnp.asarray(1e-9))))
    )(stack, stacked)
    assert all(np.all(np.isfinite(f)) for f in jax.tree.leaves(floor))
    assert bound.tolist() == [False, False]


@refitted
def test_expected_statistics_are_posterior_sums(case, x64):
    """In a mixture: sum over events of responsibility times statistics, by hand."""
    density = case.make()
    xs = draws(case, 0, 40)
    other = next(iter(perturbed(density, 0.3)))
    mixture = jm.Mixture(jnp.array([0.3, 0.7]), [density, other])
    got = eqx.filter_jit(functools.partial(expect, chunk_size=12))(mixture, xs)
    log_joint = np.stack([log_probs(density, xs), log_probs(other, xs)], 1) + np.log([0.3, 0.7])
    log_total = np.logaddexp(log_joint[:, 0], log_joint[:, 1])
    share = np.exp(log_joint - log_total[:, None])
    np.testing.assert_allclose(got.log_likelihood.value, log_total.sum(), rtol=1e-10)
    np.testing.assert_allclose(got.stats[0].outcomes, share.sum(0), rtol=1e-9)
    for k, part in enumerate([density, other]):
        each = each_stats(part, xs, part.origin)
        for a, b in zip(jax.tree.leaves(got.stats[1 + k]), jax.tree.leaves(each), strict=True):
            np.testing.assert_allclose(a, np.tensordot(share[:, k], b, 1), rtol=1e-9, atol=1e-10)


@refitted
def test_expected_log_density_is_the_log_likelihood(case, x64):
    """Up to a constant of the data, where nothing is latent."""
    density = case.make()
    if not isinstance(density, ExponentialFamily | jm.Categorical):
        pytest.skip("a latent variable: a bound and no equality")
    xs = draws(case, 0, 40)
    origin = density.origin
    stats = total_stats(density, xs, origin)
    other = next(iter(perturbed(density, 0.2)))
    expected = eqx.filter_jit(lambda d: d.expected_log_prob(stats, origin))
    gain = expected(other) - expected(density)
    real = log_probs(other, xs).sum() - log_probs(density, xs).sum()
    np.testing.assert_allclose(gain, real, rtol=1e-8, atol=1e-9)


@refitted
def test_statistics_move_to_another_origin(case, x64):
    density = case.make()
    if density.origin is None:
        pytest.skip("no origin")
    xs = draws(case, 0, 40)
    old, new = density.origin, density.origin + 0.5
    moved = recentre(density, total_stats(density, xs, old), old, new)
    direct = total_stats(density, xs, new)
    for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(direct), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
