"""Densities that stand for another: asked, they ask it."""

import abc
from typing import Any

from .._density import LogDensity
from ..families._entrances import of_field


class Forwarding(LogDensity):
    """The base of what evaluates as another density does, and offers all that it offers."""

    log_prob, sample, cdf, log_cdf = (
        of_field("forwarded", name) for name in ("log_prob", "sample", "cdf", "log_cdf")
    )

    @property
    @abc.abstractmethod
    def forwarded(self) -> Any:
        """The density that is asked."""

    @property
    def reparametrised(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self.forwarded, "reparametrised", False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in type(self).__dataclass_fields__:
            raise AttributeError(name)
        return getattr(self.forwarded, name)
