"""Densities that stand for another: asked, they ask it."""

import abc
from typing import Any

from jaxtyping import Array, Key, PyTree, Scalar

from .._density import LogDensity


class Forwarding(LogDensity):
    """The base of what evaluates as another density does, and offers all that it offers."""

    @property
    @abc.abstractmethod
    def forwarded(self) -> Any:
        """The density that is asked."""

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self.forwarded, "reparametrised", False)

    def log_prob(self, x: PyTree) -> Scalar:
        return self.forwarded.log_prob(x)

    def cdf(self, x: Scalar) -> Scalar:
        return self.forwarded.cdf(x)

    def log_cdf(self, x: Scalar) -> Scalar:
        return self.forwarded.log_cdf(x)

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return self.forwarded.sample(key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in type(self).__dataclass_fields__:
            raise AttributeError(name)
        return getattr(self.forwarded, name)
