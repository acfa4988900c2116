"""A log-density is a pytree with `log_prob(x)` for ONE event; `jax.vmap` adds every batch axis."""

import abc
import functools
import inspect
import math
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, Scalar

from ._hooks import ChecksRows
from ._numerics import Host, as_array, as_float, is_weak, log_of, zeros
from ._quantile import quantile
from ._refuse import BrokenContractError, checked_key, misdeclared


def _with_key(sample: Any) -> Any:
    @functools.wraps(sample)
    def checked(self, key, *args, **kwargs):
        return sample(self, checked_key(key, "sample"), *args, **kwargs)

    return checked


def _of_one_number(function: Any, ends: tuple[float, float]) -> Any:
    """The same method of one number of a family's domain, or a finite one; the ends beyond it."""

    @functools.wraps(function)
    def checked(self, x):
        x = one_event(x, (), self)
        if self.ranks and (domain := getattr(self, "domain", None)) is not None:
            x = x.astype(_dtype_of(self))
            x = jnp.floor(x) if domain.whole else x
            safe, base = domain.safe(x, x.dtype)
            inside, middle = base == 0, domain.inner
        elif jnp.issubdtype(x.dtype, jnp.inexact):
            inside, middle = jnp.isfinite(x), 0.0
            safe = jnp.where(inside, x, 0.5)
        else:
            return function(self, x)
        value = function(self, safe)
        beyond = jnp.where(jnp.isnan(x), x, jnp.where(x > middle, ends[1], ends[0]))
        return jnp.where(inside, value, beyond.astype(value.dtype))

    return checked


class LogDensity(eqx.Module):
    """The base of the house's densities; a user's class needs only the methods, not the base.

    - `log_prob(x)`: log-density of one event, in nats. `jax.vmap(density.log_prob)(xs)` is of many,
      of arrays: a pandas Series, which JAX doesn't map over, goes in as `jnp.asarray(series)`.
    - `sample(key)`: one event.
    - `reparametrised`: whether `sample` carries the gradient in the parameters.
    - `normalised`: whether it integrates to 1, where a class says so (see `is_normalised`).
    - `candidate`: the kind of columns that `jm.infer_template` tries a family of numbers for:
      "numbers", "skewed" (and positive), "tails" (that are long), "shares" (of 1) or "counts".
    - `ranks`: for each array field the rank of ONE density's parameter. What an array has
      beyond it is the *stack*: `jax.vmap(jm.Normal)(means, scales)` is a stack of densities.
      Annotations such as `Float[Array, "*stack d"]` say it by themselves.
    - `shared`: fields of which there is one for the whole last axis of a stack, such as a tied
      covariance. Nothing tells a parameter from a stack of them but these two declarations.
    - `alternatives`: fields that hold stacks from which a hidden label chooses.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        annotated = inspect.get_annotations(cls).items()
        own = {f: kind.dim_str.split() for f, kind in annotated if hasattr(kind, "dim_str")}
        stacked = {f: tuple(axes[1:]) for f, axes in own.items() if axes and axes[0][0] == "*"}
        cls._axes = cls._axes | stacked
        if "ranks" not in vars(cls):
            cls.ranks = cls.ranks | {f: len(axes) for f, axes in cls._axes.items()}
        own = vars(cls).get("sample")
        if inspect.isfunction(own) and list(inspect.signature(own).parameters)[1:2] == ["key"]:
            cls.sample = _with_key(own)
        for name, ends in (("cdf", (0.0, 1.0)), ("log_cdf", (-math.inf, 0.0))):
            if inspect.isfunction(own := vars(cls).get(name)):
                setattr(cls, name, _of_one_number(own, ends))

    def __check_init__(self) -> None:
        """Host's numbers given for declared parameters become floating arrays of one dtype."""
        given = {field: value for field, value in vars(self).items() if field in self.ranks}
        if any(isinstance(v, Host) or is_weak(v) for v in given.values()):
            for field, value in zip(given, as_float(*given.values()), strict=True):
                object.__setattr__(self, field, value)

    reparametrised: ClassVar[bool] = False
    normalised: ClassVar[bool | None] = None
    candidate: ClassVar[str | None] = None
    _axes: ClassVar[dict[str, tuple[str, ...]]] = {}
    ranks: ClassVar[dict[str, int]] = {}
    shared: ClassVar[tuple[str, ...]] = ()
    alternatives: ClassVar[tuple[str, ...]] = ("components",)

    @classmethod
    def template(cls, *dim: Any, **settings: Any) -> Self:
        """A placeholder for a fit: all parameters are stored as 0, vectors' of this dimension.

        Where axes are declared by several names, of a size for each, in the order of the fields.

        A combinator, which has none of its own, is called with what is given: templates of its
        parts, and settings.
        """
        if not cls.ranks:
            if not dim and not settings:
                raise NotImplementedError(f"{cls.__name__} has no `template`.")
            return cls(*dim, **settings)
        if sentence := misdeclared(cls):
            raise BrokenContractError(sentence)
        axes = {f: cls._axes.get(f, ("d",) * rank) for f, rank in cls.ranks.items()}
        names = dict.fromkeys(name for own in axes.values() for name in own)
        if settings or len(dim) != len(names):
            wanted = f"the sizes {', '.join(names)}" if names else "nothing"
            wanted = "the dimension of its vectors" if len(names) == 1 else wanted
            given = [*dim, *settings]
            raise TypeError(f"{cls.__name__}.template takes {wanted}; it was given {given}.")
        sizes = dict(zip(names, dim, strict=True))
        return made(cls, **{f: zeros(*(sizes[name] for name in own)) for f, own in axes.items()})

    def _replace(self, **fields: Any) -> Self:
        """The density with these fields instead of its own."""
        return made(type(self), **{**vars(self), **fields})

    @abc.abstractmethod
    def log_prob(self, x: PyTree) -> Scalar:
        """Log-density of one event, in nats."""

    def sample(self, key: Key[Array, ""]) -> PyTree:
        """Draw one event."""
        raise NotImplementedError(f"{type(self).__name__} has no `sample`.")

    def cdf(self, x: Scalar) -> Scalar:
        """Probability of a number up to x."""
        if type(self).log_cdf is LogDensity.log_cdf:
            raise NotImplementedError(
                f"{type(self).__name__} has no `cdf`: it is no density of a number, or none in closed "
                "form."
            )
        return jnp.exp(self.log_cdf(x))

    def log_cdf(self, x: Scalar) -> Scalar:
        """Logarithm of the probability of a number up to x."""
        return log_of(self.cdf(x))

    def quantile(self, p: Scalar) -> Scalar:
        """The least number with a probability of at least p up to it, of a density with a `cdf`."""
        return quantile(self, p)

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """Leading axes of the parameters: () for one density, (K,) for a family of K.

        Raises:
            ValueError: if two parts of the density are stacked differently.
        """
        found: dict[tuple[int, ...], str] = {}
        for field, rank in self.ranks.items():
            if not hasattr(self, field):
                raise BrokenContractError(misdeclared(type(self)))
            value = getattr(self, field)
            if hasattr(value, "ndim") and field not in self.shared:
                found.setdefault(tuple(value.shape[: value.ndim - rank]), field)
        if not self.ranks:
            parts = [getattr(self, field) for field in self.__dataclass_fields__]
            for part in jax.tree.leaves(parts, is_leaf=is_density):
                if isinstance(part, LogDensity):
                    found.setdefault(part.stack_shape, type(part).__name__)
        if len(found) > 1:
            listed = ", ".join(f"{name} has {shape}" for shape, name in found.items())
            name = type(self).__name__
            raise ValueError(f"The parts of {name} are stacked differently: {listed}.")
        return next(iter(found), ())


def check_parts(parts: list[tuple[Any, PyTree]]) -> None:
    """Let each part that has a say (`check_rows`) look at its own rows, arrays of NumPy.

    `check_rows(rows)` raises a ValueError for rows of which no fit would come out, whatever they
    are: those that leave parameters undetermined. A combinator passes on to its parts what is
    theirs of the rows. It is called before a fit whose data are known and that has no prior.
    """
    for part, rows in parts:
        if isinstance(part, ChecksRows):
            part.check_rows(rows)


def made(kind: type, **fields: Any) -> Any:
    """An instance with these fields, as they are: a template's are known, and nothing is run."""
    one = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(one, name, value)
    return one


def one_event(x: Any, shape: tuple[int, ...], owner: Any) -> Array:
    """One event as an array of this shape, or a sentence: shapes are static, so it is free.

    Half precision, and whole numbers where real ones are meant, come in the owner's own dtype.
    """
    x = as_array(x)
    if x.shape != shape:
        raise ValueError(refused_shape(owner, str(shape), x.shape))
    dtype = _dtype_of(owner)
    if dtype is None or x.dtype == dtype:
        return x
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(dtype) if x.dtype.itemsize < dtype.itemsize else x
    return x.astype(dtype) if reads_real(owner) else x


def _dtype_of(owner: Any) -> Any:
    """The dtype of a density's parameters; None where it is no density of numbers."""
    if owner.ranks:
        return getattr(owner, next(iter(owner.ranks))).dtype
    if getattr(owner, "domain", None) is None:
        return None
    floats = [a for a in jax.tree.leaves(owner) if eqx.is_inexact_array(a)]
    return floats[0].dtype if floats else None


def reads_real(density: Any) -> bool:
    """Whether a density's events are real numbers, and neither labels, counts nor truth values."""
    domain = getattr(density, "domain", None)
    if domain is None:
        return bool(density.ranks) and not hasattr(density, "labels")
    return not domain.whole


def refused_shape(owner: Any, expected: str, given: Any) -> str:
    return (
        f"One event of this {type(owner).__name__} has shape {expected}; shape {given} was given. "
        "A batch of events goes through jax.vmap(density.log_prob)(xs)."
    )


def check_kind(owner: Any, holds: bool, expected: str, x: Any) -> None:
    """Refuse an event that is not what events of a density are."""
    if not holds:
        given = getattr(x, "shape", None)
        shape = "" if given is None else f" of shape {given}"
        raise ValueError(
            f"One event of this {type(owner).__name__} is {expected}; a {type(x).__name__}{shape} was "
            "given."
        )


def is_pair(x: Any) -> bool:
    return isinstance(x, tuple | list) and len(x) == 2


def is_density(node: Any) -> bool:
    """Anything with a `log_prob` that is no array and no class."""
    return callable(getattr(node, "log_prob", None)) and not isinstance(node, type)


def as_part(role: str, value: Any) -> Any:
    """The value, if it is a density; else a sentence that begins with its role."""
    if not is_density(value):
        raise ValueError(
            f"{role} must be a density, with a method log_prob; it is a {type(value).__name__}."
        )
    return value


def is_normalised(density: Any) -> bool | None:
    """Whether a density integrates to 1; None if that is not known.

    The house's own do if all their parts do; a user's class says so by `normalised = True`.
    """
    said = getattr(density, "normalised", None)
    if isinstance(said, bool):
        return said
    if not isinstance(density, LogDensity) or not type(density).__module__.startswith("jaxmix."):
        return None
    fields = [getattr(density, field) for field in density.__dataclass_fields__]
    parts = [p for p in jax.tree.leaves(fields, is_leaf=is_density) if is_density(p)]
    known = [is_normalised(part) for part in parts]
    return False if False in known else None if None in known else True


def stack_size(densities: PyTree, role: str) -> int:
    """The number of densities in a stack of one axis, or a sentence that says what was given."""
    if isinstance(densities, LogDensity):
        shape = densities.stack_shape
    else:  # a user's own class declares no ranks: its arrays must share their first axis
        leading = {a.shape[:1] for a in jax.tree.leaves(densities) if eqx.is_array(a)}
        shape = leading.pop() if len(leading) == 1 else ()
    if len(shape) != 1:
        raise ValueError(
            f"{role} must be a stack of densities with one leading axis, such as jax.vmap(jm.Normal)"
            f"(means, scales); {type(densities).__name__} has stack shape {shape}."
        )
    return shape[0]
