"""Main programs lowered for CUDA, ROCm and TPU: nothing calls back the host, no digit is lost."""

import re
from typing import Any

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm
from jaxmix.em.solver import PlainEM, Rules

N, D, K = 600, 3, 2
PLATFORMS = ("cuda", "rocm", "tpu")


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def i32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def gaussians(covariance="diag"):
    """Abstract: nothing is computed."""
    return jax.eval_shape(lambda: jm.gaussian_mixture(K, D, covariance=covariance))


def key():
    return jax.eval_shape(lambda: jax.random.key(0))


def arrays(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf)]


def total(tree):
    return sum(jnp.sum(a) for a in arrays(tree) if jnp.issubdtype(a.dtype, jnp.floating))


def fit_round(models, x):
    """What `jm.fit` runs between two looks of the host."""
    from jaxmix.em.fit import _advance, _begin

    states = _begin(models, x, None, PlainEM())
    prior = jm.em.conjugate_prior(jax.tree.map(lambda a: a[0], models), x, rows=1.0)
    rules = Rules(PlainEM(), prior, jnp.asarray(9), jnp.asarray(1e-6), chunk_size=600)
    return arrays(_advance(states, jnp.arange(2), x, None, rules, 9, None))


def stacked(make, times=2):
    return jax.eval_shape(lambda: jax.tree.map(lambda a: jnp.stack([a] * times), make()))


def record():
    return jm.mixture_of(
        jm.Composite((jm.Normal.template(), jm.Optional.template(jm.Poisson.template()))), K
    )


def chain():
    even = jnp.full(3, 1 / 3)
    return jm.HiddenMarkov(even, jnp.stack([even] * 3), jax.vmap(jm.Normal)(even, even))


def family(means):
    return jax.vmap(jm.Normal)(means, jnp.ones_like(means))


def estimate(targets, proposals, x, weights=None, **how):
    draws = jm.importance.Draws.of(x, family(proposals))
    return jm.imp_est(lambda x: x > 1.96, family(targets), draws, weights=weights, **how)


def joint(theta):
    return lambda z, x: jm.Normal(0.0, 1.0).log_prob(z) + jm.Normal(theta * z, 1.0).log_prob(x)


def guide(theta):
    return lambda x: jm.Normal(theta * x / 2, 0.8)


def slope_of(objective):
    def loss(theta, key, xs):
        return -jnp.mean(objective(key, joint(theta), guide(theta), xs))

    return jax.value_and_grad(loss), (f32(), key(), f32(20))


def sumo():
    with pytest.warns(jm.objectives.InfiniteVarianceWarning):
        return jm.sumo()


ROWS = f32(N, D)
SEQUENCES = jax.eval_shape(lambda: jm.SequenceEvent(jnp.zeros((5, 12)), jnp.zeros(5, int)))
IMP = (f32(4), f32(3), f32(3, 50))
PAIR = jax.eval_shape(lambda: jm.OptionalEvent(jnp.zeros(N, int), jnp.zeros(N, bool)))


def regressions():
    covariates = jm.LinearRegression.template(D)
    return jax.eval_shape(lambda: jm.mixture_of(covariates, K))


PROGRAMS: dict[str, Any] = {
    "a round of fit": lambda: (fit_round, (stacked(lambda: jm.gaussian_mixture(K, D)), ROWS)),
    "init": lambda: (jm.em.init, (key(), gaussians("full"), ROWS)),
    "step, hard": lambda: (
        lambda m, x: jm.em.step(m, x, assignment="hard")[::2],
        (gaussians("tied"), ROWS),
    ),
    "run": lambda: (lambda m, x: jm.em.run(m, x).model, (gaussians("full"), ROWS)),
    "run, lbfgs": lambda: (
        lambda m, x: jm.em.run(m, x, accelerate="lbfgs").model,
        (gaussians(), ROWS),
    ),
    "many runs": lambda: (
        jax.vmap(lambda m, x: jm.em.run(m, x).model),
        (stacked(lambda: jm.gaussian_mixture(K, D, covariance="spherical"), 30), f32(30, 40, D)),
    ),
    "slope of solve": lambda: (
        jax.grad(lambda x, m: total(jm.em.solve(m, x))),
        (ROWS, gaussians("full")),
    ),
    "slope of solve, gmres": lambda: (
        jax.grad(lambda x, m: total(jm.em.solve(m, x, linear_solve="gmres"))),
        (ROWS, gaussians()),
    ),
    "standard errors": lambda: (
        lambda m, x: arrays(jm.em.standard_errors(m, x)),
        (gaussians(), ROWS),
    ),
    "posterior": lambda: (
        lambda m, x: arrays(jm.em.posterior(m, x)),
        (gaussians("spherical"), ROWS),
    ),
    "records": lambda: (
        lambda m, x: jm.em.step(m, x)[0],
        (jax.eval_shape(record), (f32(N), PAIR)),
    ),
    "hidden Markov": lambda: (
        lambda m, x: jm.em.step(m, x)[0],
        (jax.eval_shape(chain), SEQUENCES),
    ),
    "states": lambda: (
        lambda m, x: jax.vmap(lambda x: (m.smoothed(x), m.viterbi(x)))(x),
        (jax.eval_shape(chain), SEQUENCES),
    ),
    "regression": lambda: (
        lambda m, x: jm.em.step(m, x)[0],
        (regressions(), (f32(N), f32(N, D))),
    ),
    "imp_est": lambda: (lambda *a: arrays(estimate(*a)), (*IMP, f32(4, 3))),
    "imp_est, pooled": lambda: (lambda *a: arrays(estimate(*a)), IMP),
    "imp_est, controls": lambda: (
        lambda *a: arrays(estimate(*a, control_variates=True, smooth=True)),
        IMP,
    ),
    "slope of imp_est": lambda: (jax.grad(lambda *a: total(estimate(*a).value)), (*IMP, f32(4, 3))),
    "optimal weights": lambda: (
        lambda t, p, x: (
            jm.importance.optimal_weights(
                lambda x: x > 1.96, family(t), jm.importance.Draws.of(x, family(p))
            ).weights
        ),
        IMP,
    ),
    "constants": lambda: (
        lambda t: jm.importance.normalising_constants(t, jnp.asarray([40, 60])).log_z,
        (f32(100, 2),),
    ),
    "elbo": lambda: slope_of(jm.elbo(2)),
    "iwae": lambda: slope_of(jm.iwae(5)),
    "jackknife": lambda: slope_of(jm.jackknife(4)),
    "multilevel": lambda: slope_of(jm.multilevel()),
    "sumo": lambda: slope_of(sumo()),
}

# Libraries of dense linear algebra, and what a TPU's compiler has built in.
LIBRARIES = re.compile(
    r"(cu|hip)(solver_\w+_ffi|blas_\w+|_lu_pivots_to_permutation)|Eigh|Qr|LuDecomposition"
    r"|ProductOfElementaryHouseholderReflectors|Sharding|SPMD\w+"
)
TO_THE_HOST = re.compile(r"stablehlo\.(send|recv|infeed|outfeed)\b")


def lowered(function, args, platforms=PLATFORMS):
    return jax.export.export(jax.jit(function), platforms=platforms)(*args).mlir_module()


@pytest.mark.parametrize("name", PROGRAMS)
def test_lowers_for_every_accelerator(name):
    text = lowered(*PROGRAMS[name]())
    calls = set(re.findall(r"custom_call @([\w.]+)", text))
    assert not [call for call in calls if not LIBRARIES.fullmatch(call)]
    assert not TO_THE_HOST.search(text)
    assert "f64" not in text
    short = [line for line in text.splitlines() if "dot_general " in line and "HIGHEST" not in line]
    assert not short, "a product with fewer digits than float32 has"


@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize("dim", [3, 4])
def test_features_are_laid_out_alike_on_every_platform(covariance, dim):
    leaf = jm.gaussian_mixture(K, dim, covariance=covariance).components
    residual = jax.random.normal(jax.random.key(0), (dim,))
    found = []
    for platform in ("cpu", "cuda", "tpu"):
        with jm.em.sized_for(platform):
            found.append(leaf.features(residual))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def products(text):
    """How the text asks for each product: "HIGHEST", or the number of shorter ones."""
    lines = [line for line in text.splitlines() if "stablehlo.dot_general " in line]
    found = (re.search(r"HIGHEST|primitive_operations = \d", line) for line in lines)
    return [one and one.group().split()[-1] for one in found]


def test_a_precision_holds_for_one_call_and_the_programs_made_in_it():
    function, args = lambda m, x, p: jm.em.run(m, x, precision=p).model, (gaussians("full"), ROWS)
    exact = products(lowered(lambda *a: function(*a, None), args, ["cuda"]))
    assert exact and set(exact) == {"HIGHEST"}
    fast = products(lowered(lambda *a: function(*a, "bf16x6"), args, ["cuda"]))
    assert fast.count("6") >= 4 and len(fast) == len(exact)
    # One function, remembered by `jit`: it is made anew in another context, and for each platform.
    jitted = jax.jit(lambda m, x: jm.em.expected_stats(m, x))
    text = lambda: jitted.trace(*args).lower(lowering_platforms=("cuda",)).as_text()
    with jm.em.sized_for("cuda"):
        before = text()
        with jm.products_in("tf32x3"):
            within = text()
        assert text() == before
    assert set(products(before)) == {"HIGHEST"} and "3" in products(within)


def test_a_precision_that_is_not_known_is_refused():
    m, x = jm.gaussian_mixture(2, 2, covariance="diag"), jnp.zeros((9, 2))
    draws = jm.importance.Draws.of(jnp.zeros((2, 5)), family(jnp.arange(2.0)))
    calls = {
        "fit": lambda p: jm.fit(jax.random.key(0), m, x, precision=p),
        "run": lambda p: jm.em.run(m, x, precision=p),
        "solve": lambda p: jm.em.solve(m, x, precision=p),
        "imp_est": lambda p: jm.imp_est(lambda x: x, family(jnp.ones(1)), draws, precision=p),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match="one of float32, bf16x9"):
            call("single")
        with jm.em.sized_for("tpu"), pytest.raises(ValueError, match="not known to a TPU"):
            call("tf32x3")


def test_products_of_doubles_keep_their_digits(x64):
    model = jax.eval_shape(lambda: jm.gaussian_mixture(K, D))
    rows = jax.ShapeDtypeStruct((N, D), jnp.float64)
    with jm.products_in("bf16x6"):
        text = jax.jit(jm.em.expected_stats).trace(model, rows).lower().as_text()
    assert set(products(text)) == {"HIGHEST"}


@pytest.mark.parametrize("kind", [jm.LinearRegression, jm.LogisticRegression])
def test_a_precision_reaches_the_products_of_regressions(kind):
    model = jm.mixture_of(kind.template(D), K)
    data = jnp.zeros(N), jnp.zeros((N, D))
    with jm.em.sized_for("cuda"), jm.products_in("bf16x6"):
        text = jax.jit(jm.em.expected_stats).trace(model, data).lower(lowering_platforms=("cuda",))
    found = products(text.as_text())
    assert found.count("6") >= 3, found
