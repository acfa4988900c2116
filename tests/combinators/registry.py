"""Combinators with data of every awkward kind: unequal lengths, missing values, ties."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxmix as jm
from jaxmix._refittable import Refittable

ROWS = 24


class Case(NamedTuple):
    """`make` gives a model away from its optimum, and data stacked along a leading axis."""

    name: str
    make: Callable[[], tuple[Any, Any]]
    bounded: bool = True  # by the expected log-density: not where an M-step is a Newton step


def normals(*means):
    return jax.vmap(jm.Normal)(jnp.array(means), jnp.ones(len(means)))


def rng():
    return np.random.default_rng(0)


def words(letters="ab", shortest=0):
    draw = rng()
    return [[str(w) for w in draw.choice([*letters], n)] for n in draw.integers(shortest, 6, ROWS)]


def numbers():
    draw = rng()
    return [list(draw.normal(draw.choice([-2, 2]), 1, n)) for n in draw.integers(0, 6, ROWS)]


def apart(template):
    """The template with every parameter moved: no program is compiled for a start."""
    draw = rng()

    def moved(leaf):
        if not isinstance(leaf, Refittable):
            return leaf
        shift = lambda a: jnp.asarray(np.asarray(a) + 0.3 * draw.normal(size=a.shape), a.dtype)
        return jax.tree.map(shift, leaf)

    return jax.tree.map(moved, template, is_leaf=lambda node: isinstance(node, Refittable))


def started(template, rows):
    return apart(template), jm.encode(template, rows)


def record():
    """Optional (both kinds), a chain of order 2, a set, a vector with missing coordinates."""
    one = jm.Composite(
        {
            "size": jm.Optional(jm.mixture_of(jm.Normal.template(), 2)),
            "visits": jm.Optional(jm.ZeroInflated.template(jm.NegativeBinomial.template()), 0.5),
            "word": jm.MarkovChain.template(
                labels="ab", order=2, length=jm.Poisson.template(), max_length=6
            ),
            "flags": jm.BernoulliSet.template(labels="xyz"),
            "place": jm.PartialNormal.template(2),
        }
    )
    draw = rng()
    rows = [
        {
            "size": None if draw.random() < 0.2 else float(draw.normal()),
            "visits": None if draw.random() < 0.2 else int(draw.poisson(3) * (draw.random() < 0.7)),
            "word": word,
            "flags": {f for f in "xyz" if draw.random() < 0.5},
            "place": np.where(draw.random(2) < 0.3, np.nan, draw.normal(size=2)),
        }
        for word in words()
    ]
    return started(jm.mixture_of(one, 2), rows)


def tied_sequences():
    """A mixture of sequences of mixtures over the same components, tied over the stack."""
    inner = jm.mixture_of(jm.Normal.template(), 2)
    template = jm.mixture_of(jm.Sequence.template(inner, max_length=6), 2)
    model, data = started(template, numbers())
    return jm.tie(model, lambda m: m.components.item.components), data


def hidden():
    transition = jnp.array([[0.7, 0.3], [0.4, 0.6]])
    model = jm.HiddenMarkov(
        jnp.array([0.6, 0.4]), transition, normals(-1.0, 1.5), length=jm.Poisson(2.0), max_length=6
    )
    return model, jm.encode(model, numbers())


def hierarchical():
    rows = jnp.array([[0.6, 0.4], [0.3, 0.7]])
    model = jm.HierarchicalMixture(jnp.array([0.4, 0.6]), rows, normals(-1.0, 1.5), max_length=6)
    return model, jm.encode(model, numbers())


def joint():
    links = jnp.array([[0.6, 0.4], [0.3, 0.7]])
    parts = jm.Sequence(jm.Normal.template(), length=jm.Poisson.template(), max_length=6)
    second = jax.tree.map(lambda a: jnp.stack([a, a + 0.5]), parts)
    model = jm.JointMixture(jnp.array([0.4, 0.6]), links, normals(-1.0, 1.5), second)
    items = jm.encode(parts, numbers())
    return model, (jnp.asarray(rng().normal(0, 2, ROWS)), items)


def labelled():
    model = jm.SemiSupervised(jm.MixtureSameFamily(jnp.array([0.3, 0.7]), normals(-1.0, 1.5)))
    labels = np.eye(2)[np.arange(ROWS) % 2]
    labels[::3] = 1
    return model, jm.LabelledEvent(jnp.asarray(rng().normal(0, 2, ROWS)), jnp.asarray(labels))


def conditional():
    laws = jax.vmap(jm.Laplace)(jnp.array([-1.0, 1.0]), jnp.ones(2))
    model = jm.Conditional(laws, jm.Categorical(jnp.array([0.3, 0.7])))
    mixture = jm.Mixture(jnp.array([0.5, 0.5]), [model, jax.tree.map(lambda a: a + 0.3, model)])
    return mixture, (jnp.asarray(np.arange(ROWS) % 2), jnp.asarray(rng().normal(0, 2, ROWS)))


def repeated():
    model = jm.MixtureSameFamily(
        jnp.array([0.4, 0.6]), jax.vmap(lambda item: jm.Repeated(item, 3))(normals(-1.0, 1.5))
    )
    return model, jnp.asarray(rng().normal(0, 2, (ROWS, 3)))


def lines():
    """Two lines of (y, x)."""
    parts = jax.vmap(jm.LinearRegression)(
        jnp.array([[1.0, 0.0], [-0.5, 0.3]]), jnp.array([0.5, -0.5]), jnp.ones(2)
    )
    model = jm.MixtureSameFamily(jnp.array([0.4, 0.6]), parts)
    draw = rng()
    return model, (jnp.asarray(draw.normal(0, 2, ROWS)), jnp.asarray(draw.normal(size=(ROWS, 2))))


def regressions():
    """A mixture of records of regressions of every kind."""
    template = jm.Composite(
        {
            "truth": jm.LogisticRegression.template(1),
            "label": jm.MultinomialRegression.template(1, 3),
            "count": jm.PoissonRegression.template(1, offset=True),
            "spread": jm.NegativeBinomialRegression.template(1),
            "size": jm.GammaRegression.template(1),
            "place": jm.MultivariateLinearRegression.template(1, 2),
        }
    )
    draw = rng()
    x = draw.normal(size=(ROWS, 1))
    rows = {
        "truth": (np.arange(ROWS) % 3 % 2, x),
        "label": (draw.integers(0, 3, ROWS), x),
        "count": (draw.poisson(2, ROWS), x, draw.normal(0, 0.1, ROWS)),
        "spread": (draw.negative_binomial(2, 0.4, ROWS), x),
        "size": (draw.gamma(2, 1, ROWS), x),
        "place": (draw.normal(size=(ROWS, 2)) + x, x),
    }
    return apart(jm.mixture_of(template, 2)), jax.tree.map(jnp.asarray, rows)


def gated():
    """Experts of a record, some of whose responses are missing, and a gate of covariates."""
    experts = jm.Regression(lines()[0].components, response="y", given=["a", "b"])
    gate = jm.MultinomialRegression(jnp.array([[0.5]]), jnp.array([-0.2]))
    draw = rng()
    y = jm.OptionalEvent(jnp.asarray(draw.normal(0, 2, ROWS)), jnp.asarray(np.arange(ROWS) % 4 > 0))
    rows = {"y": y, **{name: jnp.asarray(draw.normal(size=ROWS)) for name in "ab"}}
    return jm.Gated(gate, experts, given=["a"]), rows


def held():
    """Means that are known with scales that are not, and the other way round."""
    template = jm.Composite((jm.Normal(0.0, 1.0), jm.Gamma(2.0, 1.0)))
    parts = jm.mixture_of(template, 2).components.parts
    places = jm.frozen(jax.vmap(jm.Normal)(jnp.array([-1.0, 1.0]), jnp.array([0.5, 2.0])), "mean")
    model = jm.MixtureSameFamily(
        jnp.array([0.4, 0.6]), jm.Composite((places, jm.frozen(parts[1], "shape")))
    )
    draw = rng()
    return model, (jnp.asarray(draw.normal(0, 2, ROWS)), jnp.asarray(draw.gamma(2, 1, ROWS)))


def shared():
    """Normals with one scale, gammas with one shape."""
    template = jm.mixture_of(jm.Composite((jm.Normal(0.0, 1.0), jm.Gamma(2.0, 1.0))), 2)
    draw, far = rng(), 4 * (np.arange(ROWS) % 2)
    rows = jnp.asarray(draw.normal(far, 1)), jnp.asarray(draw.gamma(2, 1 + far))
    model = jm.tie(apart(template), lambda m: m.components.parts[0], "scale")
    return jm.tie(model, lambda m: m.components.parts[1], "shape"), rows


def recorded():
    """A mixture of records of numbers as they are recorded: with lumps, rounded, in degrees."""
    template = jm.Composite(
        {
            "claim": jm.Optional(jm.Hurdle.template(jm.LogNormal.template(), (0.0, 9.0))),
            "rounded": jm.Discretised.template(jm.Gamma.template(), 0.5),
            "turn": jm.Scaled.template(jm.VonMises.template(), 180 / np.pi),
        }
    )
    draw = rng()
    claims = np.where(
        draw.random(ROWS) < 0.5, draw.choice([0.0, 9.0], ROWS), draw.gamma(2, 2, ROWS)
    )
    rounded, turn = np.round(2 * draw.gamma(2, 1, ROWS)) / 2, draw.uniform(0, 360, ROWS)
    rows = {"claim": [*claims[:-2], None, None], "rounded": rounded, "turn": turn}
    return started(jm.mixture_of(template, 2), rows)


def noisy():
    """Rows of two coordinates, each with a noise of its own, one of which is all but unseen."""
    parts = jax.vmap(lambda m: jm.NoisyNormal(m, jnp.eye(2)))(jnp.array([[-1.0, 0.0], [2.0, 1.0]]))
    draw = rng()
    noise = np.stack([np.diag(draw.gamma(1, 1, 2)) for _ in range(ROWS)])
    noise[3, 1, 1] = 1e6
    return jm.MixtureSameFamily(jnp.array([0.4, 0.6]), parts), jm.NoisyEvent(
        jnp.asarray(draw.normal(0, 2, (ROWS, 2))), jnp.asarray(noise)
    )


def cut():
    """Lifetimes: seen, censored from the right, between ends; and counts none of which was 0."""
    draw = rng()
    low = draw.gamma(2, 1, ROWS)
    high = np.where(
        np.arange(ROWS) % 3 == 0, low, np.where(np.arange(ROWS) % 3 == 1, low + 2, np.inf)
    )
    counts = 1 + draw.poisson(1, ROWS)
    template = jm.Composite((jm.Censored(jm.Gamma.template()), jm.Truncated(jm.Poisson(1.0), 1)))
    model = jm.mixture_of(template, 2)
    data = (jm.IntervalEvent(jnp.asarray(low), jnp.asarray(high)), jnp.asarray(counts))
    return apart(model), data


def experts():
    product = jm.ProductOfExperts([jm.Normal(0.0, 1.0), jm.Normal(1.0, 2.0)])
    return product, jnp.asarray(rng().normal(1.0, 0.5, ROWS))


def once(case):
    """The case, made once a precision."""
    made = functools.cache(lambda precision: case.make())
    return case._replace(make=lambda: made(bool(jax.config.jax_enable_x64)))


CASES = [
    Case("Censored, Truncated", cut),
    Case("ProductOfExperts", experts),
    Case("NoisyNormal", noisy),
    Case("LinearRegression", lines),
    Case("regressions", regressions, bounded=False),
    Case("Gated", gated, bounded=False),
    Case("fields frozen", held),
    Case("fields shared", shared),
    Case("record", record),
    Case("tied sequences", tied_sequences),
    Case("HiddenMarkov", hidden),
    Case("HierarchicalMixture", hierarchical),
    Case("JointMixture", joint),
    Case("SemiSupervised", labelled),
    Case("Hurdle, Discretised, Scaled", recorded),
    Case("Conditional", conditional),
    Case("Repeated", repeated),
]
CASES = [once(case) for case in CASES]
