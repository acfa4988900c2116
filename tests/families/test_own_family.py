"""A family of a user's own, written as its page says or not: what it is told, and when."""

import inspect
import re
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from jaxtyping import Array, Float

import jaxmix as jm


class Rayleigh(jm.ExponentialFamily):
    """log p(x) = log x - 2 log s - x^2 / (2 s^2), without `sample` and without `from_stats`."""

    log_scale: jax.Array
    ranks: ClassVar[dict[str, int]] = {"log_scale": 0}

    def stats(self, x, origin=None):
        return jm.Total(jnp.ones_like(x), x**2)

    def natural(self, origin=None):
        return jm.Total(-2 * self.log_scale, -0.5 * jnp.exp(-2 * self.log_scale))

    def log_base(self, x):
        return jnp.log(x)


def test_a_family_without_sample_is_asked_for_an_event_and_checked_at_it():
    density = Rayleigh(jnp.array(0.1))
    assert "`event`, or write `sample`" in str(jm.check_density(density))
    found = jm.check_density(density, jnp.array(1.5), throw=True)
    assert any("M-step" in check.asks for check in found.skipped)


class Quartic(Rayleigh):
    """<natural, stats> = x s - s^4 / 4, whose curvature at s = 0 is 0 and whose slope is not."""

    def stats(self, x, origin=None):
        return jm.Total(jnp.ones_like(x), x)

    def natural(self, origin=None):
        return jm.Total(-(self.log_scale**4) / 4, self.log_scale)

    def log_base(self, x):
        return jnp.zeros_like(x)


@pytest.mark.parametrize("start", [0.0, -1e-12])
def test_an_ascent_leaves_a_point_without_curvature(start):
    stats = jm.Total(jnp.array(3.0), jnp.array(6.0))
    found = Quartic(jnp.array(start)).from_stats(stats)
    np.testing.assert_allclose(found.log_scale, 2 ** (1 / 3), rtol=1e-5)


def test_classes_of_a_file_are_a_list(tmp_path):
    with pytest.raises(TypeError, match=r"such as classes=\[Rayleigh\]; it was the class Rayleigh"):
        jm.save(tmp_path / "model.npz", Rayleigh(jnp.array(0.0)), classes=Rayleigh)  # pyright: ignore


class Rates(jm.ExponentialFamily):
    """Two exponential waiting times, log p(x) = sum_i r_i - exp(r_i) x_i."""

    log_rates: jax.Array
    ranks: ClassVar[dict[str, int]] = {"log_rates": 1}

    def stats(self, x, origin=None):
        return jm.Total(jnp.ones((), x.dtype), x)

    def natural(self, origin=None):
        return jm.Total(jnp.sum(self.log_rates, -1), -jnp.exp(self.log_rates))

    def from_stats(self, stats, origin=None):
        return type(self)(jnp.log(stats.count[..., None] / stats.total))

    def sample(self, key):
        return jax.random.exponential(key, (2,)) * jnp.exp(-self.log_rates)


class CountOverVector(Rates):
    def from_stats(self, stats, origin=None):
        return type(self)(jnp.log(stats.count / stats.total))


class SumOverAll(Rates):
    def natural(self, origin=None):
        return super().natural()._replace(count=jnp.sum(self.log_rates))


class FirstOfStack(Rates):
    def natural(self, origin=None):
        return super().natural()._replace(count=self.log_rates[0] + self.log_rates[1])


@pytest.mark.parametrize("kind", [Rates, CountOverVector, SumOverAll, FirstOfStack])
def test_a_family_that_is_right_alone_and_wrong_in_a_stack_is_told(kind):
    with jax.numpy_rank_promotion("allow"):  # where a wrong axis is not an error by itself
        failed = jm.check_density(kind(jnp.zeros(2)), num_draws=200).failed
    if kind is Rates:
        assert not failed
    else:
        (only,) = failed
        assert "of a stack of" in only.asks and "of a stack of 2 differs in ." in only.found


class Tuples(Rayleigh):
    def natural(self, origin=None):
        return tuple(super().natural())


class TupleStats(Rayleigh):
    def stats(self, x, origin=None):
        return tuple(super().stats(x))


class Undeclared(Rayleigh):
    ranks: ClassVar[dict[str, int]] = {}


class Misnamed(Rayleigh):
    ranks: ClassVar[dict[str, int]] = {"scale": 0}


class Plain:
    def __init__(self, mean):
        self.mean = mean

    def log_prob(self, x):
        return -0.5 * (x - self.mean) ** 2


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Tuples, "natural of Tuples gives a tuple: a NamedTuple headed by count"),
        (TupleStats, "stats of TupleStats gives a tuple: a NamedTuple headed by count"),
        (Undeclared, "`ranks` of Undeclared is empty"),
        (Misnamed, "`ranks` of Misnamed names 'scale'; its fields are log_scale."),
        (Plain, "derive from jm.LogDensity or equinox.Module"),
    ],
)
def test_what_a_class_lacks_is_one_sentence_at_each_door(kind, sentence):
    density, x = kind(jnp.array(0.2)), jnp.array([1.0, 2.0, 3.0])
    assert sentence in str(jm.check_density(density, x[0]))
    for call in (jm.em.run, jm.em.step):
        with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
            call(density, x)
        assert "One row" not in str(caught.value)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        jm.fit(jax.random.key(0), jm.mixture_of(density, 2), x)


def test_a_template_of_fields_that_are_none_is_refused():
    with pytest.raises(ValueError, match="`ranks` of Misnamed names 'scale'"):
        Misnamed.template()


def test_fields_of_single_numbers_are_refused():
    model = jm.mixture_of(jm.Gamma.template(), 2)
    with pytest.raises(ValueError, match=r"over records; .* Gamma: jm.plot.mixture draws numbers"):
        jm.plot.fields(model, jnp.array([1.0, 2.0]))


class Torus(jm.LogDensity):
    """Two independent angles, each von Mises of concentration 1 up to the normaliser."""

    loc: jax.Array
    ranks: ClassVar[dict[str, int]] = {"loc": 1}
    domain = jm.Domain("two angles", dim=2)

    def log_prob(self, x):
        return jnp.sum(jnp.cos(x - self.loc))


def test_rows_of_another_shape_than_the_domain_are_refused_before_they_broadcast():
    angles = jnp.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.9]])
    torus = Torus(jnp.array([0.0, 0.5]))
    record = jm.Composite({"at": torus, "n": jm.Poisson(1.0)})
    both = {"at": angles[:, 0], "n": jnp.array([1, 2, 0])}
    models = (torus, angles[:, 0]), (jm.Mixture([0.5, 0.5], [torus, torus]), angles[:, 0])
    with jax.numpy_rank_promotion("allow"):
        for model, data in (*models, (record, both)):
            with pytest.raises(ValueError, match=r"two angles, of shape \(2,\).* has shape \(\)"):
                jm.em.run(model, data)
    jm.em.step(torus, angles)


class Maxwell(jm.ExponentialFamily):
    """log p(x) = log(2 / pi) / 2 + 2 log x - 3 log s - x^2 / (2 s^2), of x > 0."""

    log_scale: Float[Array, "*stack"]
    domain = jm.Domain("a positive number", low=0.0, open=True)

    def stats(self, x, origin=None):
        value, _ = self.on_support(x)
        return jm.Total(jnp.ones_like(value), value**2)

    def natural(self, origin=None):
        return jm.Total(-3 * self.log_scale, -0.5 * jnp.exp(-2 * self.log_scale))

    def log_base(self, x):
        value, base = self.on_support(x)
        return base + 0.5 * np.log(2 / np.pi) + 2 * jnp.log(value)

    def cdf(self, x):
        half = 0.5 * jnp.exp(-2 * self.log_scale) * jnp.square(jnp.maximum(x, 0))
        return jax.lax.igamma(jnp.full_like(half, 1.5), half)


def test_a_family_by_annotations_and_its_domain():
    density = Maxwell(1)  # a number of the host
    assert density.ranks == {"log_scale": 0} and density.log_scale.dtype == jnp.result_type(float)
    peer = st.maxwell(scale=np.e)
    np.testing.assert_allclose(density.log_prob(2.0), peer.logpdf(2), rtol=1e-5)
    np.testing.assert_allclose(density.cdf(2.0), peer.cdf(2), rtol=1e-5)
    ends = [float(density.cdf(x)) for x in (-np.inf, np.inf, np.nan)]
    np.testing.assert_array_equal(ends, [0, 1, np.nan])
    value, slope = jax.value_and_grad(lambda d: d.log_prob(-1.0))(density)
    assert value == -jnp.inf and jnp.isfinite(slope.log_scale)
    with pytest.raises(ValueError, match=r"shape \(\); shape \(2,\) was given"):
        density.cdf(jnp.ones(2))


class Shifted(jm.LogDensity):
    """A class whose annotations name no stack, and that has a field of a common name."""

    axes: Float[Array, ""]

    def log_prob(self, x):
        return -((x - self.axes) ** 2)


def test_annotations_without_a_stack_declare_nothing():
    assert Shifted.ranks == {} and Shifted(jnp.array(1.0)).log_prob(2.0) == -1


class Contaminated(jm.LogDensity):
    """A number, or with some probability one of a wider law; parts are asked with Python's values."""

    value: jm.Normal
    wide: jm.Normal
    is_wide: jm.Bernoulli

    def log_prob(self, x):
        own = self.is_wide.log_prob(False) + self.value.log_prob(x)
        return jnp.logaddexp(own, self.is_wide.log_prob(True) + self.wide.log_prob(x))


def test_a_combinator_may_ask_its_parts_with_numbers_of_python():
    model = Contaminated(jm.Normal(0, 1), jm.Normal(0, 9), jm.Bernoulli(0.1))
    x = jnp.array([0.1, -2.0, 12.0, 0.3])
    start = jm.em.init(jax.random.key(0), model, x)
    assert bool(jnp.isfinite(start.log_prob(0.5))) and start.is_wide.prob.shape == ()


def test_a_method_without_an_origin_is_about_the_leafs_own_and_a_width_makes_the_floor():
    density, x = jm.Gamma(2.0, 4.0), np.array([0.2, 0.5, 1.1])
    stats = lambda at: jax.vmap(lambda x: density.stats(x, at))(x)
    own, given = stats(None), stats(density.log_mean)
    jax.tree.map(np.testing.assert_array_equal, own, given)
    total = jax.tree.map(jnp.sum, own)
    floor = density.floor(total, jnp.array(0.1))
    spread = np.log(x.mean()) - np.log(x).mean()  # what the M-step takes the shape from
    np.testing.assert_allclose(
        [floor.count, floor.excess, floor.log], [0, 0, -0.1 * spread], rtol=1e-5
    )
    for shape, sits in ((0.5 / spread, False), (6 / spread, True)):
        assert bool(jm.Gamma(shape, 1.0).on_boundary(floor)) is sits


def test_a_closed_form_is_no_ascent():
    """Of the house's families one alone has no closed M-step, nor an ascent of its own."""
    newton = inspect.unwrap(jm.ExponentialFamily.from_stats)
    kinds = [kind for kind in vars(jm.families).values() if isinstance(kind, type)]
    ascend = {
        kind.__name__
        for kind in kinds
        if issubclass(kind, jm.ExponentialFamily) and inspect.unwrap(kind.from_stats) is newton
    }
    assert ascend == {"Zeta"}
