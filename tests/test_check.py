"""`check_density`: every family keeps the contract, and each way to break it gets its sentence."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

from .families.registry import CASES, named

# The M-step of these, by an ascent of its own, takes seconds to compile; others show the clause.
COSTLY = ("Beta", "Dirichlet", "TruncatedNormal", "VonMisesFisher", "Wishart")


@pytest.mark.parametrize("case", CASES, ids=named)
def test_every_family_keeps_the_contract(case, monkeypatch):
    if case.name in COSTLY:
        monkeypatch.setattr("jaxmix._check.stack_breach", lambda *_: "")
    found = jm.check_density(case.make(), regular=case.name != "Uniform", throw=True)
    assert found.passed and len(found.checks) >= 10


class Gauss(eqx.Module):
    loc: jax.Array
    log_scale: jax.Array
    reparametrised = True

    def log_prob(self, x):
        z = (x - self.loc) * jnp.exp(-self.log_scale)
        return -0.5 * z * z - self.log_scale - 0.5 * jnp.log(jnp.full_like(z, 2 * np.pi))

    def sample(self, key):
        return self.loc + jnp.exp(self.log_scale) * jax.random.normal(key, (), self.loc.dtype)


def made(kind):
    return kind(jnp.asarray(0.7), jnp.asarray(-0.4))


def test_two_methods_are_enough(dtype):
    found = jm.check_density(made(Gauss), throw=True)
    assert found.passed and not found.skipped


class Unnormalised(Gauss):
    def log_prob(self, x):
        return super().log_prob(x) + self.log_scale


class DrawsWider(Gauss):
    reparametrised = False

    def sample(self, key):
        return self.loc + 1.3 * (super().sample(key) - self.loc)


class StoppedDraws(Gauss):
    def sample(self, key):
        return jax.lax.stop_gradient(super().sample(key))


class BatchOnly(Gauss):
    def log_prob(self, x):
        return super().log_prob(x)[None]


class Branches(Gauss):
    def log_prob(self, x):
        return super().log_prob(x) if x > 0 else -jnp.inf


class WrongSlope(Gauss):
    def log_prob(self, x):
        return jax.lax.stop_gradient(super().log_prob(x)) + 0 * self.loc


class Nan(Gauss):
    def log_prob(self, x):
        return super().log_prob(x) + jnp.log(x - self.loc)


class OwnKey(Gauss):
    def sample(self, key):
        return super().sample(key).astype(jnp.float16)


class NoSample(eqx.Module):
    loc: jax.Array
    log_scale: jax.Array
    log_prob = Gauss.log_prob


@dataclasses.dataclass
class Opaque:
    loc: jax.Array
    log_scale: jax.Array
    log_prob = Gauss.log_prob
    sample = Gauss.sample


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Unnormalised, "The mean in .log_scale"),
        (DrawsWider, "The mean in .log_scale"),
        (StoppedDraws, "they differ by"),
        (BatchOnly, "add what axes of ONE event are left"),
        (Branches, "traced by jit"),
        (WrongSlope, "slope"),
        (Nan, "It is nan at an event"),
        (NoSample, "give one event as `event`"),
        (Opaque, "JAX sees no arrays in it"),
    ],
)
def test_each_breach_has_its_sentence(kind, sentence):
    with pytest.raises(ValueError, match="FAILS") as caught:
        jm.check_density(made(kind), throw=True)
    assert sentence in str(caught.value)


def test_draws_unlike_the_event_are_told():
    found = jm.check_density(made(OwnKey), jnp.asarray(0.1), throw=False)
    assert [c.asks for c in found.failed if "like the one given" in c.asks]


def test_arrays_in_static_fields_are_told():
    class Static(Gauss):
        table: np.ndarray = eqx.field(static=True, default_factory=lambda: np.ones(2))

    with pytest.warns(UserWarning, match="static"):
        density = made(Static)
    found = jm.check_density(density, throw=False)
    assert "arrays belong in ordinary fields" in found.failed[0].found


def test_a_density_without_sample_is_checked_at_an_event():
    found = jm.check_density(made(NoSample), jnp.asarray(0.1), throw=True)
    assert found.passed and len(found.skipped) == 1


class Centred(jm.LogDensity):
    """A combinator that reads its part's mean: what stands for a part in a fit does not know it."""

    part: Any
    fixed: bool = eqx.field(static=True, default=False)

    def log_prob(self, x):
        part = jm.constant(self.part) if self.fixed else self.part
        return self.part.log_prob(x + part.mean)


def test_a_combinator_that_asks_more_than_log_prob_is_told_so_before_a_fit_and_in_it():
    density = Centred(jm.Normal(0.5, 1.0))
    x = jnp.array([0.1, 0.5])
    found = jm.check_density(density, x[0])
    assert not found.passed and "jm.constant(part).mean" in str(found)
    for call in (jm.em.step, jm.em.expected_stats):
        with pytest.raises(AttributeError, match="`mean` of a Normal was asked"):
            call(density, x)
    with pytest.raises(AttributeError, match="know `log_prob` alone"):
        jm.em.init(jax.random.key(0), density, x)
    # As a constant of the step: the data moved by it are fitted by their own mean.
    fixed = Centred(jm.Normal(0.5, 1.0), fixed=True)
    assert ["slope" in c.asks for c in jm.check_density(fixed, x[0]).failed] == [True]
    np.testing.assert_allclose(jm.em.step(fixed, x)[0].part.mean, x.mean() + 0.5, rtol=1e-6)
