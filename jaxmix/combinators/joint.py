"""Two mixtures whose labels are linked by a matrix."""

from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from .._density import check_kind, check_parts, is_pair, stack_size
from .._log_sums import finite_or_zero, log_mixed, logsumexp, softmax, weighted_logsumexp
from .._stack import as_one_row, outcome_log_probs, over_stack, pick, repeat, rows_log_prob
from ..families._entrances import of_field
from ..families.categorical import Categorical
from ._labels import HiddenLabel, from_logs, law_and_rows
from ._lengths import stack_around
from .mixture import MixtureSameFamily


class Labels(NamedTuple):
    """Posterior probabilities of the two labels of a pair: each alone, and both."""

    first: Array
    second: Array
    both: Array


class JointMixture(HiddenLabel):
    """Density of a pair (x, y), each with a label, the labels linked, in nats.

    log p(x, y) = log sum_{k, m} weights[k] F_k(x) links[k, m] G_m(y), links[k, m] the probability
    of the second label m given the first label k.

    Args:
        weights: probabilities (k,) of the first label, or a density of it.
        links: matrix (k, m) whose rows are probabilities, or a stack of `Categorical`.
        first: a stack of k densities of x.
        second: a stack of m densities of y.
        logits, link_logits: logarithms, up to a constant a row, instead of the probabilities.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> parts = jax.vmap(jm.Normal)(jnp.array([-5.0, 5.0]), jnp.ones(2))
        >>> pair = jm.JointMixture(jnp.array([0.5, 0.5]), jnp.eye(2), parts, parts)
        >>> pair.second_given(jnp.array(-5.0)).mean.round(3)
        Array(-5., dtype=float32)
    """

    alternatives: ClassVar[tuple[str, ...]] = ("first", "second")

    mixing: PyTree
    links: PyTree
    first: PyTree
    second: PyTree
    sizes: tuple[int, int] = eqx.field(static=True)  # known too where the leaves are wrapped
    weights = of_field("mixing", "probs")

    def __init__(
        self, weights=None, links=None, first=None, second=None, *, logits=None, link_logits=None
    ):
        self.first, self.second = first, second
        self.sizes = (
            stack_size(first, "The first components of JointMixture"),
            stack_size(second, "The second components of JointMixture"),
        )
        self.mixing, self.links = law_and_rows(
            "JointMixture", self.sizes, {"weights": weights, "logits": logits},
            {"links": links, "link_logits": link_logits},
        )  # fmt: skip

    @classmethod
    def template(cls, first, second, num_first: int, num_second: int) -> Self:
        """A placeholder for a fit, of components like `first` and like `second`."""
        rows = repeat(Categorical.template(num_second), num_first)
        weights = Categorical.template(num_first)
        return cls(weights, rows, repeat(first, num_first), repeat(second, num_second))

    num_components = property(lambda self: self.sizes[0])

    @property
    def second_weights(self) -> Float[Array, "*stack m"]:
        """Marginal probabilities of the second label."""
        return jnp.sum(self.weights[..., None] * self.links.probs, -2)

    @property
    def reverse_links(self) -> Float[Array, "*stack m k"]:
        """Probability of the first label (column) given the second (row): rows add up to 1."""
        both = jnp.swapaxes(self.weights[..., None] * self.links.probs, -1, -2)
        return both / jnp.sum(both, -1, keepdims=True)

    stack_shape = property(lambda self: stack_around([self.mixing], [self.first, self.second]))

    def check_rows(self, rows: tuple[PyTree, PyTree]) -> None:
        check_parts([(self.first, rows[0]), (self.second, rows[1])])

    def log_parts(self, x: PyTree) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
        log_weights, first, height = self._rows_parts(as_one_row(self._pair(x)))
        return log_weights[:, 0], first[:, 0] + height

    def _rows_parts(self, rows: PyTree) -> tuple[Array, Array, Array]:
        """Log-weights with what the second adds to them, log F_k(x), and the second's height."""
        x, y = rows
        first = over_stack(lambda part: rows_log_prob(part, x), self.first)
        second = over_stack(lambda part: rows_log_prob(part, y), self.second)
        height = finite_or_zero(jax.lax.stop_gradient(jnp.max(second, 0)))
        log_weights, log_links = self._log_laws()
        return log_weights + log_mixed(log_links, second - height[None]), first, height

    def _log_laws(self) -> tuple[Float[Array, "k 1"], Float[Array, "k m"]]:
        """Logarithms of the weights and of the links."""
        links = over_stack(lambda row: outcome_log_probs(row, self.sizes[1]), self.links)
        return outcome_log_probs(self.mixing, self.sizes[0])[:, None], links

    def _pair(self, x: PyTree) -> PyTree:
        check_kind(self, is_pair(x), "a pair (x, y)", x)
        return x

    def log_prob(self, x: PyTree) -> Scalar:
        return self.rows_log_prob(as_one_row(self._pair(x)))[0]

    def rows_log_prob(self, rows: PyTree) -> Float[Array, " rows"]:
        """The log-densities of many pairs, stacked along a leading axis."""
        log_weights, first, height = self._rows_parts(rows)
        return weighted_logsumexp(log_weights, first, axis=0) + height

    def label_posterior(self, x: PyTree) -> Labels:
        """Probabilities of the labels given a pair."""
        x, y = self._pair(x)
        log_weights, log_links = self._log_laws()
        log = (
            log_weights + log_links + _under(self.first, x)[:, None] + _under(self.second, y)[None]
        )
        both = softmax(log.ravel()).reshape(log.shape)
        return Labels(jnp.sum(both, 1), jnp.sum(both, 0), both)

    def posterior(self, x: PyTree) -> Float[Array, " k"]:
        """Probability of each first label given a pair."""
        return self.label_posterior(x).first

    def second_given(self, x: PyTree) -> MixtureSameFamily:
        """The density of y given x."""
        log_weights, log_links = self._log_laws()
        log = logsumexp(log_weights + log_links + _under(self.first, x)[:, None], axis=0)
        return MixtureSameFamily(from_logs(jnp.zeros_like(log), log), self.second)

    def first_given(self, y: PyTree) -> MixtureSameFamily:
        """The density of x given y."""
        log_weights, log_links = self._log_laws()
        log = logsumexp(log_links + _under(self.second, y)[None])
        return MixtureSameFamily(from_logs(log_weights[:, 0], log), self.first)

    def conditional(self, event: PyTree, field: int) -> MixtureSameFamily:
        """The density of one of the pair (0 or 1) given the other."""
        if field not in (0, 1):
            raise ValueError(f"A pair has the fields 0 and 1, and no {field!r}.")
        return self.second_given(event[0]) if field == 1 else self.first_given(event[1])

    def sample(self, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        k_first, k_second, k_x, k_y = jax.random.split(key, 4)
        label = self.mixing.sample(k_first)
        other = pick(self.links, label).sample(k_second)
        return pick(self.first, label).sample(k_x), pick(self.second, other).sample(k_y)


def _under(stack: PyTree, x: PyTree) -> Float[Array, " k"]:
    """Log-densities less their greatest, where that is finite: a constant of the differentiation."""
    under = over_stack(lambda part: part.log_prob(x), stack)
    return under - jax.lax.stop_gradient(finite_or_zero(jnp.max(under)))
