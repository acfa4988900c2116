"""Random bad calls end in an answer or in a sentence of ours: never in a foreign traceback.

`JAXMIX_BAD_CALLS=10000` makes as many, others each time, instead of the part that is always made.
"""

import contextlib
import os
import pathlib
import traceback
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxmix as jm

from . import good_calls
from .families.registry import CASES as FAMILIES
from .good_calls import CALLS, above, draws, joint

HERE = str(pathlib.Path(jm.__file__).parent)
SHAPES = st.sampled_from([(), (0,), (1,), (2,), (3,), (2, 2), (2, 3), (5, 2), (0, 2), (2, 2, 2)])
VALUES = st.sampled_from([0.0, -1.0, 1.0, 0.5, 2.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-30])
KINDS = st.sampled_from(["f4", "f8", "i4", "i8", "u1", "?", "c8", "f2", ">f4", "O", "U3"])


@st.composite
def arrays(draw):
    """An array of any shape and kind, of one value or of several."""
    shape, kind = draw(SHAPES), draw(KINDS)
    flat = [draw(VALUES) for _ in range(min(4, int(np.prod(shape))))]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return np.resize(np.array(flat, float), shape).astype(kind)


ANYTHING = st.one_of(
    arrays(),
    VALUES,
    st.integers(-3, 3),
    st.none(),
    st.sampled_from(["text", b"bytes", [], (), {}, [1, [2, 3]], {"a": 1.0}, object(), jm.Normal]),
    st.builds(lambda: jm.Normal(0.0, 1.0)),
    st.builds(lambda: jm.mixture_of(jm.Normal.template(), 2)),
    st.builds(lambda: jax.random.key(0)),
)


@contextlib.contextmanager
def unfiltered():
    """Frames of JAX stay in tracebacks: else its errors would look like ours."""
    before = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", "off")
    try:
        yield
    finally:
        jax.config.update("jax_traceback_filtering", before)


def answer(call, *args, **options):
    """What a call gives; None for a sentence of ours. Anything else that is raised fails."""
    try:
        with warnings.catch_warnings(), unfiltered():
            warnings.simplefilter("ignore")
            return call(*args, **options)
    except (ValueError, TypeError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        frame = frames[-1]
        said = frame.filename.startswith(HERE) and (frame.line or "").startswith("raise")
        # A function of the caller's own may fail by itself at what it is given.
        own = [f.filename for f in frames if f.filename.startswith((HERE, good_calls.__file__))]
        said |= own[-1:] == [good_calls.__file__]
        # Which Python tells of.
        arity = "positional argument" in str(error) or "required keyword" in str(error)
        assert said or arity, f"{type(error).__name__} at {frame}: {error}"
        return None


CLASSES = [
    getattr(jm, case.name) for case in FAMILIES if isinstance(getattr(jm, case.name, 0), type)
]
CLASSES += [
    jm.Composite, jm.Conditional, jm.Discretised, jm.HiddenMarkov, jm.HierarchicalMixture,
    jm.JointMixture, jm.MarkovChain, jm.Mixture, jm.MixtureSameFamily, jm.Optional, jm.Repeated,
    jm.SemiSupervised, jm.Sequence,
]  # fmt: skip
ALL = 370  # of the tests below
OF_DATA = ["run", "step", "solve", "expected_stats", "standard_errors", "influence", "m_step"]
WITH_A_KEY = ["init", "bootstrap"]


def some(examples):
    asked = int(os.environ.get("JAXMIX_BAD_CALLS", "0"))
    few = settings(
        max_examples=asked * examples // ALL if asked else examples,
        deadline=None, derandomize=not asked, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    return lambda test: few(given(st.data())(test))


@some(150)
def test_constructors(data):
    made = data.draw(st.sampled_from(CLASSES))
    answer(made, *data.draw(st.lists(ANYTHING, max_size=3)))


@some(40)
def test_events(data):
    density = data.draw(st.sampled_from(FAMILIES)).make()
    method = data.draw(st.sampled_from(["log_prob", "cdf", "quantile"]))
    if method == "log_prob" or isinstance(density, jm.Normal | jm.Gamma | jm.Poisson):
        answer(getattr(density, method), data.draw(ANYTHING))


@some(60)
def test_em(data):
    name = data.draw(st.sampled_from([*OF_DATA, *WITH_A_KEY, "fit"]))
    first = [jax.random.key(0)] if name in WITH_A_KEY and data.draw(st.booleans()) else []
    first += [jm.Normal(0.0, 1.0)] if data.draw(st.booleans()) else []
    result = answer(
        getattr(jm.em, name, jm.fit), *first, *data.draw(st.lists(ANYTHING, max_size=3))
    )
    if isinstance(result, jm.em.Solution | jm.em.Fit) and bool(
        jnp.all(result.result == jm.RESULTS.successful)
    ):
        numbers = [a for a in jax.tree.leaves(result.model) if jnp.issubdtype(a.dtype, jnp.inexact)]
        assert not any(np.isnan(a).any() for a in numbers)


WRONG = st.one_of(
    ANYTHING,
    st.builds(draws),
    st.sampled_from([above, joint, np.ones(12), np.full(12, np.nan), np.ones((12, 2))]),
)


@some(120)
def test_one_argument_is_wrong(data):
    name = data.draw(st.sampled_from(list(CALLS)))
    function, positional, by_name = CALLS[name]
    args, options = positional(), by_name()
    places = [*range(len(args)), *options]
    place = data.draw(st.sampled_from(places))
    how = data.draw(st.sampled_from(["other", "other", "other", "swapped", "forgotten"]))
    if isinstance(place, str):
        options[place] = data.draw(WRONG)
    elif how == "other":
        args[place] = data.draw(WRONG)
    elif how == "swapped":
        second = data.draw(st.sampled_from(range(len(args))))
        args[place], args[second] = args[second], args[place]
    else:
        del args[place]
    honest(answer(function, *args, **options))


def honest(result):
    """A result with NaN says that something is wrong, if it can say anything."""
    said = getattr(result, "problems", None)
    value = getattr(result, "log_value", getattr(result, "log_z", None))
    if said is not None and value is not None:
        is_nan = any(np.isnan(np.asarray(a)).any() for a in jax.tree.leaves(value))
        assert not is_nan or said(), result
    code = getattr(result, "result", None)
    if code is not None and value is not None and said is None:
        assert not np.isnan(np.asarray(value))[np.asarray(code == jm.RESULTS.successful)].any()


def test_numbers_of_other_kinds_are_read_or_refused():
    plane = jm.DiagonalNormal(jnp.zeros(2), jnp.ones(2))
    assert answer(plane.stats, np.array([1, 2])).first.dtype == jnp.float32
    vectors = jm.Dirichlet(jnp.ones(2)), jm.VonMisesFisher(jnp.array([1.0, 0.0]), 2.0), plane
    scalars = jm.Normal(0, 1), jm.StudentT(4, 0, 1), jm.Laplace(0, 1), jm.VonMises(0, 1)
    for kind in (np.int32, np.float16):
        for density in (*vectors, *scalars, jm.LogNormal(0, 1)):
            event = np.array([1, 0] if any(density is v for v in vectors) else 1, kind)
            assert answer(density.stats, event).count.dtype == jnp.float32
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    assert answer(jm.em.run, jm.Normal(0.0, 1.0), masked) is None
    assert answer(jm.em.run, jm.Normal(0.0, 1.0), np.ones(2), weights=masked) is None
    for wrong in ({"tol": np.nan}, {"floor": -1.0}, {"floor": np.nan}):
        assert answer(jm.em.run, jm.Normal(0.0, 1.0), np.ones(2), **wrong) is None
        assert answer(jm.fit, jax.random.key(0), jm.Normal(0.0, 1.0), np.ones(2), **wrong) is None
    draws_of = jm.importance.draw(jax.random.key(0), jm.Normal(0.0, 1.0), 4)
    for f in (lambda v: "text", lambda v: jnp.zeros(0), lambda v: None):
        assert answer(jm.imp_est, f, jm.Normal(0.0, 1.0), draws_of) is None
    assert answer(plane.log_prob, masked) is None
    np.testing.assert_array_equal(plane.log_prob(np.ma.masked_array([1.0, 2.0])).shape, ())
    model = jm.mixture_of(jm.Normal.template(), 2)
    assert answer(model.posterior, masked) is None
    assert answer(jm.em.conjugate_prior, model, np.arange(5)) is not None
    assert answer(jm.plot.mixture, model, jax.random.key(0)) is None
    assert answer(jm.objectives.combine, jnp.zeros(3), [jm.objectives.Blocks(4)]) is None
    assert answer(jm.ZeroInflated(jm.Poisson(1.0), 0.5).log_prob, True) is not None
