"""Every family, with what is known of it from outside the code: support, scipy's densities."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.stats as st

import jaxmix as jm


class Case(NamedTuple):
    """`make` builds the density under the precision in force; `grid` covers its support.

    A continuous family's grid is integrated by its `area`, or without one by the trapezoidal
    rule; a discrete one's is summed.
    """

    name: str
    make: Callable[[], Any]
    grid: np.ndarray
    discrete: bool = False
    scipy: Any = None
    off: tuple = ()
    em_steps: int = 1  # steps of `from_stats` to a maximum: more where a variable is latent
    tolerance: float = 1e-5
    area: np.ndarray | None = None  # quadrature weights of the grid
    fitted: bool = True  # by its statistics; the others are loose parameters, or fixed


REALS = np.sinh(np.linspace(-12, 12, 40001))
POSITIVES = np.exp(np.linspace(-30, 12, 40001))
COUNTS = np.arange(0, 400)
NODES, SIZES = (0.5 * (1 + a) for a in np.polynomial.legendre.leggauss(60))
SIZES = SIZES - 0.5  # of the nodes on the unit interval


def _triangle():
    """Points of the simplex in three coordinates, and their areas (in the first two)."""
    first, rest = (a.ravel() for a in np.meshgrid(NODES, NODES, indexing="ij"))
    area = np.outer(SIZES, SIZES).ravel() * (1 - first)
    second = (1 - first) * rest
    return np.stack([first, second, 1 - first - second], 1), area


def _sphere():
    """Points of the unit sphere in three dimensions, and their areas."""
    turns = np.arange(80) * np.pi / 40
    height, turn = (a.ravel() for a in np.meshgrid(2 * NODES - 1, turns, indexing="ij"))
    radius = np.sqrt(1 - height**2)
    area = np.repeat(2 * SIZES, len(turns)) * np.pi / 40
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], 1), area


def _plane(shape):
    """Points of a square about (1/2, -1), as events of this shape, and their areas."""
    at, size = (7 * a for a in np.polynomial.legendre.leggauss(70))
    points = np.stack([a.ravel() for a in np.meshgrid(0.5 + at, at - 1, indexing="ij")], 1)
    return {"grid": points.reshape(-1, *shape), "area": np.outer(size, size).ravel()}


def _positive_definite():
    """Positive definite matrices (2, 2), and their volumes in the three entries that are free."""
    at, size = np.polynomial.legendre.leggauss(40)
    log_a, log_c, r = (g.ravel() for g in np.meshgrid(6 * at - 1, 6 * at - 1, at, indexing="ij"))
    size = np.einsum("i,j,k->ijk", 6 * size, 6 * size, size).ravel()
    a, b, c = np.exp(log_a), r * np.exp(0.5 * (log_a + log_c)), np.exp(log_c)
    return {"grid": np.stack([a, b, b, c], 1).reshape(-1, 2, 2), "area": size * (a * c) ** 1.5}


SETS = np.array(list(itertools.product([False, True], repeat=3)))

CASES = [
    Case("Normal", lambda: jm.Normal(1.0, 2.0), REALS, scipy=st.norm(1, 2)),
    Case(
        "LogNormal",
        lambda: jm.LogNormal(0.5, 0.7),
        POSITIVES,
        scipy=st.lognorm(0.7, scale=np.exp(0.5)),
        off=(0.0, -1.0),
    ),
    Case(
        "Exponential",
        lambda: jm.Exponential(2.5),
        POSITIVES,
        scipy=st.expon(scale=0.4),
        off=(-1.0,),
    ),
    Case(
        "Gamma",
        lambda: jm.Gamma(3.5, 2.0),
        POSITIVES,
        scipy=st.gamma(3.5, scale=0.5),
        off=(0.0, -1.0),
    ),
    Case(
        "Gamma, peaked",
        lambda: jm.Gamma(500.0, 2.0),
        np.linspace(100, 500, 40001),
        scipy=st.gamma(500, scale=0.5),
        off=(-1.0,),
    ),
    Case(
        "Gamma, heavy",
        lambda: jm.Gamma(0.7, 0.1),
        POSITIVES,
        scipy=st.gamma(0.7, scale=10),
    ),
    Case(
        "StudentT",
        lambda: jm.StudentT(5.0, 1.0, 2.0),
        REALS,
        scipy=st.t(5, 1, 2),
        em_steps=100,
    ),
    Case(
        "StudentT, fixed",
        lambda: jm.StudentT(4.5, 1.0, 2.0, fixed_df=True),
        REALS,
        scipy=st.t(4.5, 1, 2),
        em_steps=100,
    ),
    Case(
        "Poisson",
        lambda: jm.Poisson(3.5),
        COUNTS,
        discrete=True,
        scipy=st.poisson(3.5),
        off=(-1, 1.5),
    ),
    Case(
        "Geometric",
        lambda: jm.Geometric(0.3),
        1 + COUNTS,
        discrete=True,
        scipy=st.geom(0.3),
        off=(0, -2, 1.5),
    ),
    Case(
        "Bernoulli",
        lambda: jm.Bernoulli(0.3),
        np.arange(2),
        discrete=True,
        scipy=st.bernoulli(0.3),
        off=(2, -1),
    ),
    Case(
        "Categorical",
        lambda: jm.Categorical(jnp.array([0.2, 0.5, 0.3])),
        np.arange(3),
        discrete=True,
        scipy=st.rv_discrete(values=([0, 1, 2], [0.2, 0.5, 0.3])),
        off=(-1, 3),
    ),
    Case(
        "BernoulliSet",
        lambda: jm.BernoulliSet(jnp.array([0.2, 0.5, 0.9])),
        SETS,
        discrete=True,
    ),
    Case(
        "Binomial",
        lambda: jm.Binomial(7, 0.3, low=2),
        np.arange(2, 10),
        discrete=True,
        scipy=st.binom(7, 0.3, loc=2),
        off=(1, 10, 2.5),
    ),
    Case(
        "IntegerCategorical",
        lambda: jm.IntegerCategorical(jnp.array([0.2, 0.5, 0.3]), low=-1),
        np.arange(-1, 2),
        discrete=True,
        scipy=st.rv_discrete(values=([-1, 0, 1], [0.2, 0.5, 0.3])),
        off=(-2, 2, 0.5),
    ),
    Case(
        "Uniform",
        lambda: jm.Uniform(-1.0, 3.0),
        np.linspace(-1, 3, 1001),
        scipy=st.uniform(-1, 4),
        off=(-1.5, 3.5),
        fitted=False,
    ),
    Case(
        "Laplace",
        lambda: jm.Laplace(1.0, 2.0),
        REALS,
        scipy=st.laplace(1, 2),
        em_steps=400,
    ),
    Case(
        "Weibull",
        lambda: jm.Weibull(1.5, 2.0),
        POSITIVES,
        scipy=st.weibull_min(1.5, scale=2),
        off=(0.0, -1.0),
        em_steps=8,
    ),
    Case(
        "NegativeBinomial",
        lambda: jm.NegativeBinomial(2.5, 0.3),
        COUNTS,
        discrete=True,
        scipy=st.nbinom(2.5, 0.3),
        off=(-1, 0.5),
        em_steps=40,
    ),
    Case(
        "ZeroInflated",
        lambda: jm.ZeroInflated(jm.Poisson(3.0), 0.3),
        COUNTS,
        discrete=True,
        off=(-1, 0.5),
        fitted=False,
    ),
    Case(
        "Discretised",
        lambda: jm.Discretised(jm.Normal(40.0, 6.0), 1.0, cells=16),
        np.arange(0, 81),
        discrete=True,
        fitted=False,
    ),
    Case(
        "Scaled",
        lambda: jm.Scaled(jm.Beta(2.5, 1.5), 100.0),
        np.linspace(1e-4, 100 - 1e-4, 40001),
        scipy=st.beta(2.5, 1.5, scale=100),
        off=(-1.0, 101.0),
        fitted=False,
    ),
    Case(
        "Hurdle",  # with no mass at its atom, which has no length to integrate over
        lambda: jm.Hurdle(jm.LogNormal(0.5, 0.7), jnp.array([0.0, 1.0]), atoms=(-3.0,)),
        POSITIVES,
        scipy=st.lognorm(0.7, scale=np.exp(0.5)),
        off=(0.0, -1.0),
        fitted=False,
    ),
    Case(
        "SpikeAndSlab",
        lambda: jm.SpikeAndSlab(7, 0.6, low=5, size=4),
        np.arange(5, 9),
        discrete=True,
        off=(4, 9, 5.5),
        fitted=False,
    ),
    Case(
        "Beta",
        lambda: jm.Beta(2.5, 1.5),
        np.linspace(1e-6, 1 - 1e-6, 40001),
        scipy=st.beta(2.5, 1.5),
        off=(0.0, 1.0, -0.5),
    ),
    Case(
        "TruncatedNormal",
        lambda: jm.TruncatedNormal(1.0, 2.0, low=0.5, high=4.0),
        np.linspace(0.5, 4, 10001),
        scipy=st.truncnorm(-0.25, 1.5, loc=1, scale=2),
        off=(0.0, 4.5),
    ),
    Case(
        "CensoredNormal",
        lambda: jm.CensoredNormal(1.0, 2.0, low=0.5, high=4.0),
        np.r_[0.5, 2.25 + 3.5 * (NODES - 0.5), 4.0],
        off=(0.0, 4.5),
        area=np.r_[1.0, 3.5 * SIZES, 1.0],
        em_steps=400,
    ),
    Case(
        "VonMises",
        lambda: jm.VonMises(0.5, 2.0),
        np.linspace(-np.pi, np.pi, 2001),
        scipy=st.vonmises(2, loc=0.5),
    ),
    Case(
        "VonMisesFisher",
        lambda: jm.VonMisesFisher(jnp.array([2.0, 1.0, -1.0]), 4.0),
        _sphere()[0],
        scipy=st.vonmises_fisher(np.array([2.0, 1.0, -1.0]) / np.sqrt(6), 4.0),
        off=((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
        area=_sphere()[1],
    ),
    Case(
        "Dirichlet",
        lambda: jm.Dirichlet(jnp.array([2.5, 1.5, 4.0])),
        _triangle()[0],
        off=((0.5, 0.5, 0.5), (1.0, 0.0, 0.0)),
        area=_triangle()[1],
    ),
    Case(
        "Multinomial",
        lambda: jm.Multinomial(3, jnp.array([0.2, 0.5, 0.3])),
        np.array([c for c in itertools.product(range(4), repeat=3) if sum(c) == 3]),
        discrete=True,
        scipy=st.multinomial(3, [0.2, 0.5, 0.3]),
    ),
]
CASES += [
    Case(
        "InverseGaussian", lambda: jm.InverseGaussian(1.5, 4.0), POSITIVES,
        scipy=st.invgauss(1.5 / 4, scale=4), off=(0.0, -1.0),
    ),
    Case(
        "InverseGaussian, peaked", lambda: jm.InverseGaussian(2.0, 800.0),
        np.linspace(1, 4, 20001), scipy=st.invgauss(2 / 800, scale=800), off=(-1.0,),
    ),
    Case(
        "ContinuousBernoulli", lambda: jm.ContinuousBernoulli(0.2), np.linspace(0, 1, 2001),
        scipy=st.truncexpon(np.log(4), scale=1 / np.log(4)), off=(-0.5, 1.5),
    ),
    Case(
        "Kumaraswamy", lambda: jm.Kumaraswamy(2.5, 1.5), np.linspace(1e-6, 1 - 1e-6, 40001),
        off=(0.0, 1.0, -0.5), em_steps=12,
    ),
    Case(
        "Zeta", lambda: jm.Zeta(5.5), 1 + np.arange(2000), discrete=True,
        scipy=st.zipfian(5.5, 10**9), off=(0, -2, 1.5),
    ),
    Case(
        "Skellam", lambda: jm.Skellam(3.5, 1.5), np.arange(-150, 150), discrete=True,
        scipy=st.skellam(3.5, 1.5), off=(0.5,), em_steps=3000,
    ),
    Case(
        "Wishart", lambda: jm.Wishart(7, jnp.array([[0.3, 0.1], [0.1, 0.2]])),
        **_positive_definite(), off=(((1.0, 2.0), (2.0, 1.0)),),
    ),
    Case(
        "MatrixNormal",
        lambda: jm.MatrixNormal(
            jnp.array([[0.5, -1.0]]), jnp.array([[1.5]]), jnp.array([[1.0, 0.4], [0.4, 1.16]])
        ),
        **_plane((1, 2)), em_steps=200,
        scipy=st.matrix_normal(np.array([[0.5, -1.0]]), [[1.5]], [[1.0, 0.4], [0.4, 1.16]]),
    ),
    Case(
        "FactorAnalysis",
        lambda: jm.FactorAnalysis(jnp.array([0.5, -1.0]), jnp.array([[1.0], [0.6]]), jnp.array([0.7, 1.1])),
        **_plane((2,)), em_steps=2000,
        scipy=st.multivariate_normal([0.5, -1.0], [[1.49, 0.6], [0.6, 1.57]]),
    ),
    Case(
        "Truncated", lambda: jm.Truncated(jm.Normal(1.0, 2.0), low=0.5, high=4.0),
        np.linspace(0.5, 4, 10001), scipy=st.truncnorm(-0.25, 1.5, loc=1, scale=2),
        off=(0.0, 4.5), fitted=False,
    ),
    Case(
        "Truncated, counts", lambda: jm.Truncated(jm.Poisson(2.0), low=1, high=6),
        np.arange(1, 7), discrete=True, off=(0, 7, 1.5), fitted=False,
    ),
    Case(
        "ProbabilisticPCA",
        lambda: jm.ProbabilisticPCA(jnp.array([0.5, -1.0]), jnp.array([[1.0], [0.6]]), 0.7),
        **_plane((2,)), em_steps=2000,
        scipy=st.multivariate_normal([0.5, -1.0], [[1.49, 0.6], [0.6, 0.85]]),
    ),
]  # fmt: skip


def named(case: Case) -> str:
    return case.name
