"""What compilation costs: quick options for programs that run briefly, a cache that outlives us."""

import functools
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from ._trees import is_traced

# Few and simple passes: a third of the time to compile, two to five times that to run.
QUICK: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}
# The same for loops over large arrays: kernels of a library, where it would write no vector code.
BY_LIBRARY = QUICK | {
    "xla_cpu_experimental_ynn_fusion_type": ",".join(
        f"LIBRARY_FUSION_TYPE_{kind}" for kind in ("DOT", "REDUCE", "ELTWISE")
    )
}
# Two thirds of the time to compile, a fifth more than that to run.
FAIR = QUICK | {"xla_backend_optimization_level": 1}


FEW_NUMBERS = 200_000


class Quick:
    """A function under `eqx.filter_jit`, compiled with little effort where that pays.

    A compiler that does not know one of the options compiles as it does by default. Inside
    another `jit`, `vmap` or `grad` there is no choice, and no options are given.

    Args:
        function: of trees of arrays; other arguments are static, and hashed.
        when: of the same arguments, whether little effort pays; None for always.
        options: what little effort is; `FAIR` where loops are many and small, `BY_LIBRARY`
            where they are over large arrays whose last axis is long.
    """

    known = True

    def __init__(
        self,
        function: Callable,
        when: Callable[..., bool] | None = None,
        options: dict[str, Any] = QUICK,
    ):
        jit: Any = eqx.filter_jit
        self.full = jit(function)
        self.fair = jit(function, compiler_options=FAIR)
        self.quick = jit(function, compiler_options=options)
        self.when = when
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Tracing makes many objects and little garbage: a look at all that imports have made, in
        # the midst of it, would take a sixth of a first fit.
        collects = gc.isenabled()
        gc.disable()
        try:
            return self._called(*args, **kwargs)
        finally:
            if collects:
                gc.enable()

    def _called(self, *args: Any, **kwargs: Any) -> Any:
        traced = is_traced((args, kwargs))
        if traced or not Quick.known or not (self.when is None or self.when(*args, **kwargs)):
            return self.full(*args, **kwargs)
        try:
            return self.quick(*args, **kwargs)
        except ValueError as error:
            # Inside another `jit` that closes over all arguments none of them is traced.
            if "compiler_options` can only be passed to top-level" not in str(error):
                raise
            return self.full(*args, **kwargs)
        except jax.errors.JaxRuntimeError as error:
            if not any(option in str(error) for option in BY_LIBRARY):
                raise
            Quick.known = False
            return self.full(*args, **kwargs)


class Effort:
    """How much effort a program is worth: more, once it has run for as long as that would take.

    `level` is 0 for little, 1 for fair effort, or 2 for all. What compiling takes is told by the first
    call, which compiles and runs. Fair effort takes two and a half times as long, and halves the
    time of every call: it pays once five times as much is still to be run, and what has been run
    is the best guess of that. Eight, since the first call may have found its program in a cache.
    Never less than `least`: more than 0 where a program is run many times, and kept.
    """

    PATIENCE = (8.0, 24.0)
    least = 0

    def __init__(self):
        self.first, self.worth, self.seen = 0.0, 0.0, set[int]()

    @property
    def level(self) -> int:
        # Where optimisations are off, all effort would be no more than little.
        most = 1 if jax.config.read("jax_disable_most_optimizations") else 2
        wanted = sum(self.worth > patience for patience in self.PATIENCE)
        return min(most, max(wanted, self.least))

    def run(self, program: Quick, *args: Any) -> Any:
        """Run a program to its end, and count the seconds, but for the first call of a level."""
        level, began = self.level, time.process_time()
        with_effort = (program, program.fair, program.full)[level if Quick.known else 2]
        out = jax.block_until_ready(with_effort(*args))
        seconds = time.process_time() - began
        self.first = self.first or max(seconds, 0.5)
        if level in self.seen:
            self.worth += seconds / self.first
        self.seen.add(level)
        return out


def numbers_in(*args: Any, **kwargs: Any) -> int:
    """How many numbers all arguments together hold."""
    return sum(getattr(a, "size", 1) for a in jax.tree.leaves((args, kwargs)))


def of_few_numbers(
    function: Callable,
    count: Callable[..., int] = numbers_in,
    options: dict[str, Any] = QUICK,
) -> Quick:
    """`Quick` for what works on few numbers and so runs briefly: a decorator.

    Args:
        function: as for `Quick`.
        count: of the same arguments, the numbers worked on, where they are more than those given.
        options: as for `Quick`.
    """
    return Quick(function, lambda *args, **kwargs: count(*args, **kwargs) <= FEW_NUMBERS, options)


def compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs on disk, for this process and those to come.

    Compilation is most of what a first call costs. With the cache, the same call in a new process
    reads the compiled program instead. A folder that the user has set already, by
    `jax.config.update("jax_compilation_cache_dir", ...)` or the variable
    `JAX_COMPILATION_CACHE_DIR`, is left as it is, with all its settings.

    Args:
        folder: where; None for `jaxmix` in the user's folder for caches. It is made if needed.

    Returns:
        The folder in use; None where it cannot be written, and nothing is kept.

    Example:
        >>> import jaxmix as jm
        >>> jm.compilation_cache()  # doctest: +SKIP
        PosixPath('/home/someone/.cache/jaxmix')
    """
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if given is not None:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "jaxmix" if folder is None else Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Small programs too: there are many of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
