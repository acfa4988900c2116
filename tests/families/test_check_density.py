"""`check_density`: every family keeps the contract, and each way to break it gets its sentence."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmix as jm

from .registry import CASES, named


@pytest.mark.parametrize("case", CASES, ids=named)
def test_every_family_keeps_the_contract(case):
    found = jm.check_density(case.make(), regular=case.name != "Uniform")
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
    found = jm.check_density(made(Gauss))
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
        jm.check_density(made(kind))
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
    found = jm.check_density(made(NoSample), jnp.asarray(0.1))
    assert found.passed and len(found.skipped) == 1
