"""Every objective is a linear combination of log-mean-exps over subsets of one set of weights.

`_combine` is the core; `_fixed` and `_random` evaluate it, `_rules` says who learns what. The
training loop is optax's: an objective is a function of a key, a model, a guide and a batch.

Where a guide reaches beyond the support of the prior, draws have weight 0. Gradients stay finite,
and those of bounds of several draws (`iwae`) are right: such draws do not count. A bound that
takes the logarithm of every single weight (`elbo`) is -inf, and an unbiased estimate of log p(x)
has no mean: their values say so, and their guides are not pulled back. Take a guide on the
support, such as `jm.LogNormal`, or a bound of several draws.

A model of one's own is -inf off its support. Where it is NaN there, so are values and gradients,
since a NaN may as well be a fault: `jnp.where(inside, log_p, -jnp.inf)`, with z replaced by a point
inside before `log_p` is made of it, says what is meant.

Example:
    >>> import jax, jax.numpy as jnp, jaxmix as jm, optax
    >>> xs = 3 + 2 * jax.random.normal(jax.random.key(0), (256,))
    >>> def loss(p, key):
    ...     model = lambda z, x: jm.Normal(p["mean"], 1).log_prob(z) + jm.Normal(z, 1).log_prob(x)
    ...     guide = lambda x: jm.Normal(p["slope"] * x + p["shift"], 0.8)
    ...     return -jm.multilevel(max_level=4)(key, model, guide, xs).mean()
    >>> optimiser = optax.adam(0.1)
    >>> def step(carry, key):
    ...     updates, state = optimiser.update(jax.grad(loss)(carry[0], key), carry[1])
    ...     return (optax.apply_updates(carry[0], updates), state), None
    >>> p = {"mean": jnp.array(0.0), "slope": jnp.array(0.0), "shift": jnp.array(0.0)}
    >>> keys = jax.random.split(jax.random.key(1), 200)
    >>> (p, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, keys))((p, optimiser.init(p)))
    >>> bool(abs(p["mean"] - xs.mean()) < 0.2)
    True
"""

from .._lazy import directory as _directory
from ._combine import Blocks as Blocks
from ._combine import Combined as Combined
from ._combine import Prefixes as Prefixes
from ._combine import combine as combine
from ._compare import Comparison as Comparison
from ._compare import compare as compare
from ._evidence import Evidence as Evidence
from ._evidence import jackknifed as jackknifed
from ._evidence import log_evidence as log_evidence
from ._evidence import posterior_mean as posterior_mean
from ._fixed import FixedObjective as FixedObjective
from ._laws import GeometricLevels as GeometricLevels
from ._laws import HarmonicCounts as HarmonicCounts
from ._laws import InfiniteVarianceWarning as InfiniteVarianceWarning
from ._multilevel import Multilevel as Multilevel
from ._multilevel import Sumo as Sumo
from ._multilevel import multilevel as multilevel
from ._multilevel import sumo as sumo
from ._named import ciwae as ciwae
from ._named import cubo as cubo
from ._named import delta_method as delta_method
from ._named import elbo as elbo
from ._named import eubo as eubo
from ._named import iwae as iwae
from ._named import jackknife as jackknife
from ._named import miwae as miwae
from ._named import piwae as piwae
from ._named import renyi as renyi
from ._random import RandomObjective as RandomObjective
from ._rules import GUIDE_RULES as GUIDE_RULES
from ._terms import DeltaCorrection as DeltaCorrection
from ._terms import LeaveOut as LeaveOut
from ._terms import Posterior as Posterior
from ._terms import Tempered as Tempered
from ._tree import Halves as Halves
from ._tree import Tree as Tree

__dir__ = _directory(globals())
