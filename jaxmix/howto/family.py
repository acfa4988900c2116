"""Add a family: its statistics and natural parameters; EM, mixtures, plots and files follow.

log p(x) = <natural, stats(x)> + log_base(x).

- `stats` is a NamedTuple headed by a count of 1, as `jm.Total(count, total)`, `natural` one headed by
  minus the log-normaliser. A closed M-step goes into `from_stats(self, stats, origin=None)`;
  without one it is Newton's ascent.
- With a `domain` of numbers, `self.on_support(x)` is x as a float of the parameters' dtype, replaced
  where it is off the domain, so that no gradient is NaN, and what `log_base` adds: 0, or -inf off it.
- `natural` and `from_stats` are of a stack of densities, too: write `[..., 0]`, not `[0]`, and sum
  over axis -1. All else is of one density and one event, batches being `jax.vmap`'s. `origin` may go
  unused.
- Parameters are stored free of bounds, `ranks` says the rank of each (jaxtyping's annotations, such
  as `Float[Array, "*stack d"]`, say it too); numbers given for them become arrays. To be made of
  the usual ones, write `__init__`; `from_stats` may then say `self._replace(logit=...)`.
  `template()` has zeros for all, `template(dim)` where there are vectors; where zeros are no start
  of Newton's ascent, give `jm.mixture_of` a density of your own.
- An event of two numbers is an array (2,), its domain `jm.Domain("two angles", dim=2)`; a fit checks
  the shape of data by the domain, `jm.encode` their values too. Events that a table holds as something
  else than numbers have one registration (see the page of event kinds).
- `jm.check_density(density)` tests the contract (see `jm.ExponentialFamily`) of one density and of a
  stack, on draws of `sample(self, key)`, which gives one event; without `sample` give it `event=`,
  and it tests less.
- `cdf(self, x)`, or `log_cdf`, opens `quantile`, `jm.Truncated` and `jm.Censored`; of a family with
  a `domain`, x lies in it, and whole numbers are rounded down.
- Properties `mean` and `variance` are those that mixtures ask for; `log_normaliser(self, natural,
  origin=None)` opens `jm.kl_divergence`. `candidate = "counts"` in the class (or numbers, skewed,
  tails, shares) has `jm.infer_template` try it for such columns of a table.
- In the house a family is a file in `jaxmix/families`, and a `Case` in `tests/families/registry.py`
  puts it through all tests: that adds `log_normaliser`.

Not an exponential family? Derive from `jm.LogDensity` and write `log_prob(self, x)` in place of
`stats`, `natural` and `log_base`: the M-step then climbs its gradient. Off the support it must be
-inf by itself (`jnp.where(x > 0, ..., -jnp.inf)`, of a safe x inside); priors, which are made of
statistics, do not reach it.

Example:
    >>> import jax, jax.numpy as jnp, jaxmix as jm, tempfile
    >>> class Logarithmic(jm.ExponentialFamily):  # log p(x) = x log q - log x - log(-log(1 - q))
    ...     logit: jax.Array
    ...     ranks = {"logit": 0}
    ...     domain = jm.Domain("a whole number from 1 up", whole=True, low=1)
    ...
    ...     def stats(self, x, origin=None):
    ...         value, _ = self.on_support(x)
    ...         return jm.Total(jnp.ones_like(value), value)
    ...
    ...     def natural(self, origin=None):
    ...         log_q = jax.nn.log_sigmoid(self.logit)
    ...         return jm.Total(-jnp.log(jax.nn.softplus(self.logit)), log_q)
    ...
    ...     def log_base(self, x):
    ...         value, base = self.on_support(x)
    ...         return base - jnp.log(value)
    >>> counts = jnp.array([1, 1, 1, 2, 1, 3, 1, 9, 8, 14])
    >>> model = jm.em.run(Logarithmic.template(), counts).model
    >>> jax.nn.sigmoid(model.logit).round(2)  # the mean is -q / ((1 - q) log(1 - q)) = 4.1
    Array(0.91, dtype=float32)
    >>> fit = jm.fit(jax.random.key(0), jm.mixture_of(Logarithmic.template(), 2), counts)
    >>> path = tempfile.mkdtemp() + "/model.npz"
    >>> jm.save(path, fit.model, classes=[Logarithmic])  # so that the file can name the class
    >>> jm.load(path, classes=[Logarithmic]).components.stack_shape
    (2,)
"""
