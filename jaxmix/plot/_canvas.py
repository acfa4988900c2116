"""What the pictures share: axes, one colour a component, points, ellipses, fonts for any script."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._compile import of_few_numbers
from .._lazy import imported
from .._trees import num_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any  # matplotlib is imported when something is drawn

# Okabe and Ito (2008), told apart by colour-blind readers; yellow is left out, faint on white.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555")
SIZE = (5.2, 3.8)  # of a small picture
INK, WARM, COOL, PALE = "#222222", "#c8553d", "#2a6f97", "#a9c5d6"
DRAWN = "return the arrays and draw them outside."  # what looks at values is drawn so
# More points than this only darken a picture and slow it down.
MAX_POINTS = 20_000
MAX_BINS = 50
AT_ONCE = 8192  # events of which a model is asked side by side

# What people have, by the name that the font itself says.
SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Heiti SC", "Hiragino Sans",
    "Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "Noto Sans Arabic",
    "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS", "Unifont",
)  # fmt: skip


def pyplot():
    """The plotting module, or a sentence that says how to get it."""
    return imported("matplotlib.pyplot", "plot", "Pictures need matplotlib")


def new_axes(rows: int = 1, columns: int = 1, size=(6.4, 4.8), **options) -> np.ndarray:
    """The axes of a new figure, as a matrix."""
    options |= {"figsize": size, "squeeze": False, "layout": "constrained"}
    return pyplot().subplots(rows, columns, **options)[1]


def panels(count: int, across: int, width: float, height: float, beside: float = 0.0) -> np.ndarray:
    """Axes of so many panels, in rows; room beside them for a legend."""
    across = min(across, count)
    down = -(-count // across)
    axes = new_axes(down, across, size=(width * across + beside, height * down)).ravel()
    for ax in axes[count:]:
        ax.remove()
    return axes[:count]


def axes_or_new(ax: Axes | None, size=(6.4, 4.8)) -> Axes:
    return new_axes(size=size)[0, 0] if ax is None else ax


def colours(k: int) -> np.ndarray:
    """One colour a component, as (k, 3) red, green and blue."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if k <= len(OKABE_ITO):
        return np.array([to_rgb(name) for name in OKABE_ITO[:k]])
    return colormaps["turbo"](np.linspace(0.05, 0.95, k))[:, :3]


def thinned(x: np.ndarray) -> np.ndarray:
    """Evenly spaced rows, at most `MAX_POINTS` of them."""
    return x[:: max(1, -(-len(x) // MAX_POINTS))]


def bins_of(values: np.ndarray, step: float | None = None) -> np.ndarray:
    """Edges of bins about finite numbers, apart even where all are one; of multiples of a step as
    many in each.
    """
    low, high = float(values.min()), float(values.max())
    count = min(MAX_BINS, max(8, int(len(values) ** 0.5)))
    if high - low <= count * np.spacing(max(abs(low), abs(high))):
        low, high = low - 0.5 * max(abs(low), 1), high + 0.5 * max(abs(high), 1)
    elif step:
        width = step * -(-(high - low + step) // (count * step))
        return np.arange(low - 0.5 * step, high + width, width)
    return np.linspace(low, high, count + 1)


def responsibilities(model: Any, x: Any, given: Any = None, name: str = "x") -> np.ndarray:
    """Posterior probabilities of the components, (n, k), or those given of as many rows."""
    if given is None:
        return each(model, "posterior", x)
    given = np.asarray(given)
    if len(given) != num_rows(x):
        raise ValueError(f"posterior has {len(given)} rows where {name} has {num_rows(x)}.")
    return given


def each(model: Any, method: str, x) -> Any:
    """What a method of a model gives for each of the events, compiled as one."""
    return jax.tree.map(np.asarray, _each(model, method, x))


@of_few_numbers
def _each(model, method, x):
    return jax.lax.map(getattr(model, method), x, batch_size=AT_ONCE)


def gaussian_parts(components: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean (d,) and covariance (d, d) of each component; empty where one of them has neither."""
    stacks = components if isinstance(components, Sequence) else [components]
    parts = []
    for stack in stacks:
        mean = getattr(stack, "mean", None)
        covariance = getattr(stack, "covariance", None)
        if mean is None or covariance is None:
            return []
        mean, covariance = np.asarray(mean), np.asarray(covariance)
        if covariance.ndim != mean.ndim + 1:
            return []
        dim = mean.shape[-1]
        parts += zip(mean.reshape(-1, dim), covariance.reshape(-1, dim, dim), strict=True)
    return parts


def ellipse(ax: Axes, mean, covariance, mass: float, **style) -> None:
    """The ellipse that holds a share `mass` of a normal density in the plane."""
    from matplotlib.patches import Ellipse

    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        return
    variances, directions = np.linalg.eigh(covariance)
    # Beyond r standard deviations lies exp(-r^2 / 2) of a normal density in the plane.
    width, height = 2 * np.sqrt(-2 * np.log1p(-mass) * np.maximum(variances, 0))
    angle = np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))
    ax.add_patch(Ellipse(mean, width, height, angle=angle, fill=False, **style))


@contextmanager
def fonts_for(texts: Iterable[str]) -> Iterator[list[str]]:
    """Draw with fonts that have every character of the texts; gives what is to be said if none has."""
    wanted = {c for text in texts for c in text if ord(c) > 127 and not c.isspace()}
    if not wanted or find_spec("matplotlib") is None:
        yield []
        return
    from matplotlib import font_manager, rc_context, rcParams

    files = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    used = [name for name in (rcParams["font.sans-serif"][0], *SCRIPTS) if name in files]
    has = [font_manager.get_font(files[name]).get_charmap() for name in used]
    left = {c for c in wanted if not any(ord(c) in one for one in has)}
    shown = "".join(sorted(left)[:8])
    said = [
        f"No font here has {shown}{'...' if len(left) > 8 else ''}: the pictures show boxes in "
        "their place. A font such as Noto Sans CJK draws them; the tables of this report need none."
    ]
    with rc_context({"font.family": used}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing")
        yield said if left else []
