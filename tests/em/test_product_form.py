"""Stacks in product form: packed pairs, which leaves are computed beforehand, and precision."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from scipy import stats as sps
from scipy.special import logsumexp as sp_logsumexp

import jaxmix as jm
from jaxmix._chunkwise import ProductForm
from jaxmix._product_form import common_origin, is_far
from jaxmix.em import expected as passes
from jaxmix.em.parts import asking_of
from jaxmix.families._pairs import matrix_of_pairs, products_of_pairs, weights_of_pairs


@pytest.mark.parametrize("size", [2, 3, 6, 7])
def test_pairs_are_the_quadratic_form(size):
    rng = np.random.default_rng(size)
    vector, root = rng.normal(size=(size, 4)).astype("f4"), rng.normal(size=(size, size))
    matrix = jnp.asarray(root + root.T, jnp.float32)
    products = products_of_pairs(jnp.asarray(vector))
    quadratic = np.einsum("in,ij,jn->n", vector, matrix, vector)
    found = jnp.dot(weights_of_pairs(matrix), products, precision="highest")
    np.testing.assert_allclose(found, quadratic, rtol=1e-5, atol=1e-4)
    outer = np.einsum("in,jn->nij", vector, vector)
    np.testing.assert_array_equal(matrix_of_pairs(products.T, size), outer)


def record(k=3):
    """A mixture of records: a number, a vector, and a sequence of numbers."""
    rng = np.random.default_rng(0)
    normals = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    parts = {
        "number": jax.vmap(jm.Normal)(normals(k), jnp.ones(k)),
        "vector": jax.vmap(jm.DiagonalNormal)(normals(k, 2), jnp.ones((k, 2))),
        "items": jax.vmap(jm.Sequence)(
            jax.vmap(jm.Normal)(normals(k), jnp.ones(k)), jax.vmap(jm.Poisson)(jnp.full(k, 2.0))
        ),
    }
    model = jm.MixtureSameFamily(jnp.full(k, 1 / k), jm.Composite(parts))
    lengths = jnp.asarray(rng.integers(1, 5, 40))
    data = {
        "number": normals(40),
        "vector": normals(40, 2),
        "items": jm.SequenceEvent(normals(40, 4), lengths),
    }
    return model, data


def test_what_is_computed_beforehand_equals_what_is_computed_within(monkeypatch):
    model, data = record()
    parts = passes.take_apart(model)
    row = jax.tree.map(lambda a: a[0], data)
    fields = asking_of(model, row).places
    places = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(row)]
    asked = [
        (type(leaf).__name__, None if field is None else places[field])
        for leaf, field in zip(parts.leaves, fields, strict=True)
        if isinstance(leaf, ProductForm)
    ]
    # The items of a sequence are made by the model: only the number and the vector are rows.
    assert sorted(asked, key=str) == [
        ("DiagonalNormal", "['vector']"),
        ("Normal", "['number']"),
        ("Normal", None),
    ]
    beforehand = jax.jit(passes.expect)(model, data)
    unasked = [None] * len(passes.take_apart(model).leaves)
    monkeypatch.setattr(passes, "events_asked", lambda *_: unasked)
    within = jax.jit(lambda *each: passes.expect(*each))(model, data)
    for a, b in zip(jax.tree.leaves(beforehand), jax.tree.leaves(within), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


def spread_out(covariance, k=5, d=3, distance=500):
    """A mixture two of whose densities are too far from the others for one origin, and its data."""
    rng = np.random.default_rng(3)
    means, scales = rng.normal(size=(k, d)), rng.uniform(0.5, 1.5, (k, d))
    means[1], means[3], scales[3] = means[1] + distance, means[3] + 1, 0.004
    x = means[rng.integers(0, k, 200)] + 0.01 * rng.normal(size=(200, d))
    means, scales, x = (jnp.asarray(a, jnp.float32) for a in (means, scales, x))
    make = {
        "full": lambda m, s: jm.MultivariateNormal(m, jnp.diag(s**2)),
        "diag": jm.DiagonalNormal,
        "spherical": lambda m, s: jm.SphericalNormal(m, s[0]),
        "number": lambda m, s: jm.Normal(m[0], s[0]),
    }[covariance]
    return jax.vmap(make)(means, scales), x[:, 0] if covariance == "number" else x


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical", "number"])
def test_the_far_are_evaluated_about_their_own_origins(covariance):
    """In float32 as near to scipy's answer in float64 as where none is far."""
    parts, x = spread_out(covariance)
    model = jm.MixtureSameFamily(jnp.ones(5) / 5, parts)
    far = is_far(parts, common_origin(parts))
    assert sorted(np.flatnonzero(far)) == [1, 3]  # a far mean drags no other with it
    found, stats = jm.em.expected_stats(model, x, chunk_size=64)
    host = np.asarray(x, float).reshape(200, -1)
    means = np.asarray(parts.mean, float).reshape(5, -1)
    scales = np.broadcast_to(
        np.asarray(
            parts.scale
            if covariance != "full"
            else np.sqrt(np.diagonal(parts.covariance, axis1=1, axis2=2)),
            float,
        ).reshape(5, -1),
        means.shape,
    )
    each = sps.norm.logpdf(host[None], means[:, None], scales[:, None])
    under = np.sum(each, -1) - np.log(5)
    total = np.asarray(sp_logsumexp(under, 0))
    shares = np.exp(under - total)
    np.testing.assert_allclose(found, total.sum(), atol=1e-4 * 200)
    np.testing.assert_allclose(stats.components.count, shares.sum(1), rtol=1e-4)
    residual = host[None] - means[:, None]
    second = np.einsum("kn,kni,knj->kij", shares, residual, residual)
    if covariance != "full":
        second = np.diagonal(second, axis1=1, axis2=2)
    if covariance in ("spherical", "number"):
        second = second.sum(-1)
    first = np.einsum("kn,kni->ki", shares, residual).reshape(stats.components.first.shape)
    np.testing.assert_allclose(stats.components.first, first, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(stats.components.second, second, rtol=2e-3, atol=1e-5)


def test_far_densities_in_lanes_in_nested_stacks_and_in_derivatives(x64):
    """Lanes of which one has far densities, two axes of a stack, and both kinds of derivative."""
    parts, x = jax.tree.map(lambda a: a.astype(float), spread_out("diag", k=4, distance=2**24))
    assert jnp.any(is_far(parts, common_origin(parts)))
    even = eqx.tree_at(lambda p: (p.mean, p.log_scale), parts, (parts.mean % 1, 0 * parts.mean))
    total = lambda parts: jm.em.expected_stats(jm.MixtureSameFamily(jnp.ones(4) / 4, parts), x)
    both = jax.tree.map(lambda *a: jnp.stack(a), parts, even)
    lanes = jax.vmap(total)(both)
    for a, b in zip(jax.tree.leaves(lanes), jax.tree.leaves(total(parts)), strict=True):
        np.testing.assert_allclose(a[0], b, rtol=1e-8, atol=1e-8)
    # The first of two inner mixtures has all the weight: its statistics are those of it alone.
    inner = jax.vmap(jm.MixtureSameFamily)(jnp.ones((2, 4)) / 4, both)
    value, stats = jm.em.expected_stats(jm.MixtureSameFamily(jnp.array([1.0, 0.0]), inner), x)
    np.testing.assert_allclose(value, lanes[0][0], atol=1e-5 * 200)
    for a, b in zip(jax.tree.leaves(stats.components), jax.tree.leaves(lanes[1]), strict=True):
        np.testing.assert_allclose(a[0], b[0], rtol=1e-5, atol=2e-3)
        assert not jnp.any(a[1])

    moved = lambda t: eqx.tree_at(lambda p: p.mean, parts, parts.mean + t)
    first = lambda t: jnp.sum(total(moved(t))[1].components.first)
    np.testing.assert_allclose(jax.jvp(first, (0.0,), (1.0,))[1], jax.grad(first)(0.0), rtol=1e-9)
    model = lambda t: jm.MixtureSameFamily(jnp.ones(4) / 4, moved(t))
    direct = jax.grad(lambda t: jnp.sum(jax.vmap(model(t).log_prob)(x)))(0.0)
    np.testing.assert_allclose(jax.grad(lambda t: total(moved(t))[0])(0.0), direct, rtol=1e-6)


def products_in(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from products_in(inner)


def shapes_in(jaxpr):
    for equation in jaxpr.eqns:
        yield from (v.aval.shape for v in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from shapes_in(inner)


@pytest.mark.parametrize("frozen", [False, True])
def test_all_outcomes_of_a_law_of_labels_are_tilted_at_once(frozen):
    """One by one their gradient is of one-hot rows: K x K numbers a chunk, S x S x S in a chain."""
    keep = jm.frozen if frozen else lambda part: part
    parts = jax.vmap(jm.Normal)(jnp.arange(37.0), jnp.ones(37))
    even = keep(jm.Categorical(jnp.ones(37)))
    rows = jax.vmap(jm.Categorical)(jnp.ones((37, 37)))
    items = jm.SequenceEvent(jnp.zeros((5, 3)), jnp.full(5, 3))
    for model, data, most in (
        (jm.MixtureSameFamily(even, parts), jnp.zeros(5), 1),
        (jm.HiddenMarkov(even, rows, parts), items, 2),
        (jm.HierarchicalMixture(even, rows, parts), items, 2),
        (jm.JointMixture(even, rows, parts, parts), (jnp.zeros(5), jnp.zeros(5)), 2),
    ):
        jaxpr = jax.make_jaxpr(jm.em.expected_stats)(model, data).jaxpr
        assert max(shape.count(37) for shape in shapes_in(jaxpr)) == most, type(model).__name__


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_every_product_of_a_step_asks_for_all_digits(covariance):
    """Accelerators multiply float32 in fewer digits unless asked (tf32, bfloat16)."""
    model = jm.gaussian_mixture(2, 3, covariance=covariance)
    step = jax.make_jaxpr(lambda x: jm.em.step(model, x)[0])(jnp.zeros((10, 3)))
    found = list(products_in(step.jaxpr))
    assert len(found) >= 2  # the two of the product form; with matrices the residual form too
    highest = jax.lax.Precision.HIGHEST
    for equation in found:
        assert equation.params["precision"] == (highest, highest), equation


def test_import_is_light():
    """Only what jax itself imports, and the three libraries jaxmix is built on."""
    heavy = ["matplotlib", "pandas", "polars", "pyarrow", "sklearn", "numpyro", "distrax", "torch"]
    code = (
        "import sys, jax, equinox, optax; before = set(sys.modules); import jaxmix\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(heavy) & set(found.stdout.split()), found.stdout
    assert "scipy" not in found.stdout.split()
