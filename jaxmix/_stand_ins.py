"""What stands for the parts of a model while EM looks at it, and what they may be asked.

A combinator sees its parts through `log_prob` alone. In a fit each refittable one is replaced by a
stand-in, whose log-density carries a tilt, or was computed beforehand, or is noise: what else a part
knows (its mean, its sample) would let nothing of this through, so a stand-in refuses to tell.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ._density import LogDensity
from ._loops import marked
from ._numerics import native, tree_vdot
from ._platform import product_precision
from ._refittable import Refittable, tilt
from ._stack import lent, outcome_log_probs, release, release_all, rows_total

STEPS = 512  # of a nat: rounding of another unit moves few events from one to the next


class StandIn(LogDensity):
    """The base of what stands for a leaf."""

    leaf: eqx.AbstractVar[Any]

    def sample(self, key):
        del key
        raise AttributeError(_refusal(self, "sample"))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in type(self).__dataclass_fields__:
            raise AttributeError(name)
        raise AttributeError(_refusal(self, name))


def _refusal(stand_in: StandIn, name: str) -> str:
    return (
        f"In a fit the parts of a density know `log_prob` alone: `{name}` of a "
        f"{type(stand_in.leaf).__name__} was asked for, through which nothing that the data tell of "
        f"it would pass. Write the density by `log_prob` of its parts; or ask jm.constant(part)."
        f"{name}, which the fit takes for a constant at each step."
    )


def constant(part: PyTree) -> PyTree:
    """A copy of a part that a combinator's `log_prob` may ask for more than `log_prob`.

    In a fit the parts of a density know `log_prob` alone. The copy has all else (`mean`, `scale`),
    at the parameters of the present step, as constants: no gradient passes through it, and no
    expected statistics. A step is then that of EM with what was asked held fixed, which need not
    climb; a density whose maximum depends on what was asked should state it by `log_prob`.

    Example:
        >>> import jax, jaxmix as jm
        >>> jax.grad(lambda m: jm.constant(jm.Normal(m, 1.0)).mean)(2.0)
        Array(0., dtype=float32, weak_type=True)
    """
    is_stand_in = lambda node: isinstance(node, StandIn)
    whole = jax.tree.map(
        lambda node: node.leaf if is_stand_in(node) else node, lent(part), is_leaf=is_stand_in
    )
    still = lambda a: jax.lax.stop_gradient(native(a)) if eqx.is_inexact_array(a) else a
    return jax.tree.map(still, whole)


class Tilted(StandIn):
    """A leaf under a tilt t about an origin."""

    leaf: Any
    t: Any
    origin: Any

    def log_prob(self, x):
        origin, t = release(self.origin), release_all(self.t)
        return tilt(self.leaf.log_prob(x), self.leaf.pair(t, x, origin))

    def items_log_prob(self, items, used):
        """Sums over the used items of each row, of items (t * rows, ...) and `used` (t, rows).

        Statistics that all densities share add up before they meet the tilt: one product a row.
        """
        origin, t = release(self.origin), release_all(self.t)
        each = lambda function: jax.vmap(function, out_axes=-1)(items)
        total = lambda function: jax.tree.map(lambda a: rows_total(a, used), each(function))
        values = total(self.leaf.log_prob)
        # Residuals are each density's own, and products of them are larger than an item.
        if origin is not None or type(self.leaf).pair is not Refittable.pair:
            return tilt(values, total(lambda x: self.leaf.pair(t, x, origin)))
        sums = total(lambda x: self.leaf.stats(x, origin))
        return tilt(values, jax.vmap(lambda s: tree_vdot(t, s), in_axes=-1)(sums))

    def outcome_log_probs(self, size):
        t = release_all(self.t)
        return tilt(outcome_log_probs(self.leaf, size), self.leaf.pair_outcomes(t, size))


class TiltedProduct(StandIn):
    """A leaf in product form: affine in one feature vector, tilted in head and weights."""

    leaf: Any
    natural: Any
    t: Any
    origin: Any

    def log_prob(self, x):
        features = self.leaf.features(x - release(self.origin))
        dot = lambda weights: jnp.dot(weights, features, precision=product_precision(features))
        (head, weights), (t_head, t_weights) = self.natural, self.t
        return tilt(head + dot(weights), t_head + dot(t_weights))

    def items_log_prob(self, items, used):
        """Sums over the used items of each row, of items (t * rows, ...) and `used` (t, rows).

        The features add up before they meet the parameters: one product a row, not one an item.
        """
        features = jax.vmap(lambda x: self.leaf.features(x - release(self.origin)), out_axes=-1)
        features = rows_total(features(items), used)
        count = jnp.sum(used, 0).astype(features.dtype)
        dot = lambda weights: jnp.matmul(weights, features, precision=product_precision(features))
        (head, weights), (t_head, t_weights) = self.natural, self.t
        return tilt(count * head + dot(weights), count * t_head + dot(t_weights))


class Known(StandIn):
    """A leaf whose log-density of the event at hand has been computed beforehand."""

    leaf: Any
    value: Any

    def log_prob(self, x):
        del x
        return self.value


class Blank(StandIn):
    """A leaf whose log-density is noise drawn from the event's own content, for initialisation.

    Without a seed it is 0 everywhere, and components are all alike.
    """

    leaf: Any
    t: Any
    origin: Any
    seed: Any
    level: Any

    def log_prob(self, x):
        origin, t = release(self.origin), release_all(self.t)
        return self._drawn(x, self.leaf.pair(t, x, origin))

    def outcome_log_probs(self, size):
        pairings = self.leaf.pair_outcomes(release_all(self.t), size)
        return jax.vmap(self._drawn)(jnp.arange(size), pairings)

    def _drawn(self, x, pairing):
        if self.seed is None:
            # Mapped over whatever the pairing is: second derivatives of a rule that is mapped over
            # one argument alone go wrong in jax 0.10.2. The pairing's value is still not computed.
            value = jnp.where(False, pairing, jnp.zeros_like(pairing))
        else:
            key = _content_key(self.seed, _in_no_unit(self.leaf, x))
            value = self.level * jax.random.gumbel(key, (), self.level.dtype)
        return tilt(marked(value), pairing)  # what a key gives is not seen to vary


def _in_no_unit(leaf: Any, x: PyTree) -> PyTree:
    """Where an event of a located or a scaled family lies under it, rounded; other events as are.

    What is drawn by it is the same in any unit: of vectors and numbers how far the log-density is
    below that at the location, and on which side of it each coordinate is.
    """
    place: Any = getattr(leaf, "origin", None)
    domain = getattr(leaf, "domain", None)
    if not eqx.is_inexact_array(x):
        return x
    low, high = getattr(domain, "low", -math.inf), getattr(domain, "high", math.inf)
    mean = getattr(leaf, "mean", None)
    if x.shape == () and (low, high) == (0, math.inf) and mean is not None:
        return jnp.round(STEPS * jnp.log(x / mean))
    if eqx.is_inexact_array(place) and place.shape == x.shape and low == -math.inf:
        x = jnp.where(jnp.isnan(x), place, x)
        below = leaf.log_prob(place) - leaf.log_prob(x)
        return jnp.round(STEPS * below), x > place
    return x


def _content_key(seed, x):
    key = jax.random.wrap_key_data(seed)
    for part in map(jnp.asarray, jax.tree.leaves(x)):  # a combinator may ask with numbers
        kind = jnp.float32 if jnp.issubdtype(part.dtype, jnp.inexact) else jnp.int32
        bits = jax.lax.bitcast_convert_type(part.astype(kind), jnp.uint32)
        mixed = jnp.ravel(bits) * (2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1)
        key = jax.random.fold_in(key, jnp.sum(mixed, dtype=jnp.uint32))
    return key
