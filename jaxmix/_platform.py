"""What a program is made for: the sizes that suit a platform, the digits of its matrix products.

Both are contexts by which `jit` remembers a program: within another one it is made anew. A rule
that is traced later (of `vmap`, say) is traced in the context of its function by `in_context`.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._arguments import named, optional

P = ParamSpec("P")
R = TypeVar("R")

_platform: Any = jax.make_user_context(None)
_products: Any = jax.make_user_context(None)


class Sizes(NamedTuple):
    """What suits a kind of device. Bounds on the rows of a chunk, each times what it says:

    - `stack`: densities of the widest stack;
    - `stats`: numbers in one density's statistics;
    - `event`: numbers in an event, from `rows` rows on;
    - `items`: numbers in a sequence's items times densities of the widest stack;
    - `multiple`: of which the rows of a chunk are one.

    And `lanes` bounds the rows of all fits of a block under `vmap` times their densities or
    numbers, `draws` those of a block of importance sampling; hidden chains of `halved` states at
    most are passed in log2 T steps of matrices.
    """

    stack: int
    stats: int
    event: int
    items: int
    rows: int
    multiple: int
    lanes: int
    draws: int
    halved: int


CACHE = Sizes(1 << 18, 1 << 22, 1 << 17, 1 << 21, 4096, 16, 1 << 17, 4096, 0)
# Launches and padded copies cost, not cache misses: 128 MiB of float32 a chunk's widest array.
MEMORY = Sizes(1 << 25, 1 << 27, 1 << 24, 1 << 25, 1 << 17, 1024, 1 << 25, 1 << 16, 8)
# A TPU gains nothing by longer chunks of wide statistics, and keeps five times as much for them.
SIZES = {"cpu": CACHE, "tpu": MEMORY._replace(stats=1 << 25)}


def platform() -> str:
    """What programs are made for: the platform asked for, or the default one."""
    return _platform.value or jax.default_backend()


def sizes() -> Sizes:
    """What suits the platform that programs are made for."""
    return SIZES.get(platform(), MEMORY)


def sized_for(platform: str) -> AbstractContextManager:
    """Passes traced inside have chunks that suit this platform: as large as a cache, or as memory.

    By default that of `jax.default_backend()`. For programs that are lowered here and run elsewhere
    (`jax.export`), or to try sizes; `chunk_size=` has the last word. Many small fits under `vmap`
    and blocks of importance sampling are sized alike. The answer is the same up to rounding.

    Args:
        platform: "cpu", or "cuda", "rocm", "tpu" and any other name for an accelerator.

    Example:
        >>> import jax, jaxmix as jm, jax.numpy as jnp
        >>> rows = jax.ShapeDtypeStruct((100_000, 2), jnp.float32)
        >>> model = jm.gaussian_mixture(8, 2, covariance="diag")
        >>> with jm.em.sized_for("tpu"):
        ...     program = jax.jit(jm.em.expected_stats).trace(model, rows)
    """
    return _platform(platform)


PRESETS = jax.lax.DotAlgorithmPreset
PRECISIONS: dict[str, Any] = {
    "float32": jax.lax.Precision.HIGHEST,
    "bf16x9": PRESETS.BF16_BF16_F32_X9,
    "bf16x6": PRESETS.BF16_BF16_F32_X6,
    "tf32x3": PRESETS.TF32_TF32_F32_X3,
    "bf16x3": PRESETS.BF16_BF16_F32_X3,
    "tf32": PRESETS.TF32_TF32_F32,
}
read_precision = optional(named(*PRECISIONS))
# As XLA's compilers answer; on a CPU those of bfloat16 are computed in float32.
UNKNOWN = {"cpu": ("bf16x9", "tf32x3", "tf32"), "tpu": ("bf16x9", "tf32x3", "tf32")}


def products_in(precision: str | None) -> AbstractContextManager:
    """Matrix products of float32 inside have these digits; those of float64 keep all of theirs.

    For what `precision=` of `jm.fit`, `jm.em.run`, `jm.em.solve` and `jm.imp_est` does for one call.
    Tensor cores multiply a float32 as a sum of two or three shorter numbers, by so many products.
    By default every product has all digits of float32 on every platform. The relative error of a
    product, and the largest of a log-likelihood on clusters that are hard in float32, in nats a
    datum (`python -m benchmarks.precision`, which emulates them):

    - "float32": 3e-7, 2e-5; "bf16x9", "bf16x6" and "tf32x3" the same.
    - "bf16x3": 5e-6, 2e-4.
    - "tf32": 3e-4, 1e-2: too much for most fits.

    Args:
        precision: one of these, "float32" for all digits, or None to leave it as it is around.

    Raises:
        ValueError: for another name, or one that the platform does not know: CPUs and TPUs
            know those of bfloat16 up to "bf16x6" alone, which a CPU computes in float32.

    Example:
        >>> import jax.numpy as jnp, jaxmix as jm
        >>> with jm.products_in("bf16x6"):
        ...     _, stats = jm.em.expected_stats(jm.Normal(0, 1), jnp.array([1.0, 3.0]))
    """
    read_precision(precision, "precision")
    if precision in UNKNOWN.get(platform(), ()):
        raise ValueError(
            f'precision="{precision}" is not known to a {platform().upper()}: "bf16x6" and "bf16x3" '
            'are. To lower for a GPU from here, do so inside jm.em.sized_for("cuda").'
        )
    return nullcontext() if precision is None else _products(precision)


def with_precision(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator: the argument `precision` holds for all products inside."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        asked: Any = kwargs.get("precision")
        with products_in(asked):
            return function(*args, **kwargs)

    return run


def product_precision(operand: Array) -> Any:
    """The `precision` of a matrix product of operands like this.

    Accelerators multiply float32 matrices with fewer digits unless asked.
    """
    asked = _products.value
    if asked is None or operand.dtype != jnp.float32:
        return jax.lax.Precision.HIGHEST
    return PRECISIONS[asked]


def in_context(function: Callable[P, R]) -> Callable[P, R]:
    """The function as it is here, wherever it is traced later."""
    size, digits = _platform.value, _products.value

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _platform(size), _products(digits):
            return function(*args, **kwargs)

    return run
