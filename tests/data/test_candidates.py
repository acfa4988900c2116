"""Families that declare themselves candidates for columns, the house's and a user's alike."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import jaxmix as jm
from jaxmix.data.candidates import candidates


class Logarithmic(jm.ExponentialFamily):
    """Fisher's series: log p(x) = x log q - log x - log(-log(1 - q)), x = 1, 2, ..."""

    logit: jax.Array
    ranks: ClassVar[dict[str, int]] = {"logit": 0}
    domain = jm.Domain("a whole number from 1 up", whole=True, low=1)

    def stats(self, x, origin=None):
        return jm.Total(jnp.ones_like(self.logit), x * jnp.ones_like(self.logit))

    def natural(self, origin=None):
        return jm.Total(-jnp.log(jax.nn.softplus(self.logit)), jax.nn.log_sigmoid(self.logit))

    def log_base(self, x):
        return -jnp.log(x * jnp.ones_like(self.logit))


class Pareto(jm.ExponentialFamily):
    """log p(x) = log a - (a + 1) log x for x > 1, which is none in another unit."""

    log_a: jax.Array
    ranks: ClassVar[dict[str, int]] = {"log_a": 0}
    domain = jm.Domain("a number above 1", low=1.0, open=True)

    def stats(self, x, origin=None):
        value, _ = self.on_support(x)
        return jm.Total(jnp.ones_like(value), jnp.log(value))

    def natural(self, origin=None):
        return jm.Total(self.log_a, -1 - jnp.exp(self.log_a))


LAWS = [
    (Logarithmic, "counts", st.logser(0.93)),
    (jm.InverseGaussian, "skewed", st.invgauss(2.0, scale=1e5)),
    (Pareto, "skewed", st.pareto(3.0)),
]


@pytest.mark.parametrize(
    ("family", "kind", "law"),
    LAWS,
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_family_that_declares_itself_is_chosen_where_it_is_right(monkeypatch, family, kind, law):
    table = {"x": law.rvs(600, random_state=np.random.default_rng(0))}
    # By one line in the class, `candidate = "counts"`; taken away again after the test.
    declared = family.candidate is not None
    monkeypatch.setattr(family, "candidate", kind)
    found = jm.infer_template(table)
    assert found.choices[0].family == family.__name__
    assert isinstance(found.template.parts["x"], family)
    monkeypatch.undo()
    assert (family.__name__ in [one.name for one in candidates()]) == declared


def test_a_kind_of_columns_that_there_is_none_of_is_told(monkeypatch):
    monkeypatch.setattr(Logarithmic, "candidate", "numerals")
    with pytest.raises(ValueError, match=r"Logarithmic is a candidate.*'numerals'.*skewed"):
        candidates()
