"""Parts of a package that are imported when they are first used."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def lazily(
    package: str, there: dict[str, Any], names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: its name.
        there: its globals, in which what has been imported is kept.
        names: for each module the names that it lends to the package, with spaces between.
    """
    home = {name: module for module, lent in names.items() for name in lent.split()}
    every = {*home, *names}

    def get(name: str) -> Any:
        if name not in every:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{home.get(name, name)}")
        there[name] = getattr(module, name) if name in home else module
        return there[name]

    return get, lambda: sorted({*public(there), *every})


def imported(module: str, extra: str, need: str) -> Any:
    """A module of an optional library; or a sentence that begins with who needs it.

    Raises:
        ModuleNotFoundError: naming the extra that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"{need}, which the extra `{extra}` installs: pip install 'jaxmix[{extra}]'."
        ) from missing


def public(there: Mapping[str, Any]) -> list[str]:
    """The names of a package that are for users: no modules, unless they are rooms of their own."""
    return sorted(
        name for name, thing in there.items()
        if not name.startswith("_") and not isinstance(thing, ModuleType)
    )  # fmt: skip


def directory(there: Mapping[str, Any]) -> Callable[[], list[str]]:
    """`__dir__` of a package whose globals these are."""
    return lambda: public(there)
