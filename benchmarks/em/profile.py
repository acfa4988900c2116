"""Claim: what an EM iteration takes beyond its two matrix products is work on every log-density.

For the cases of em.speed, one iteration cut down: its two matrix products alone; with the softmax
between them; with the features made of each chunk's rows; the whole pass over the data; the
iteration. Each program holds the one before, so a column of the table is what it adds. Beside: the
products at the peak that this machine shows for a large square product. The least of several runs
in turns, since other work on the machine only adds.

python -m benchmarks.em.profile [full small diagonal spherical univariate]
"""

import itertools
import sys

import jax
import jax.numpy as jnp

from benchmarks.em._cases import CASES, draw
from benchmarks.em._parts import programs
from benchmarks.em.speed import advance, peak_flops, seconds, start

TURNS = 9
PARTS = ("products", "softmax", "features", "rest of the pass", "M-step and rest")


def run(name: str) -> None:
    """One case: a row of the table."""
    case = CASES[name]
    with jax.enable_x64(case.dtype == "float64"):
        x, means = draw(case)
        x = jnp.asarray(x[:, 0] if case.dim == 1 else x)
        model = start(means, case)
        parts = programs(model, x, case)
        steps = lambda count: lambda: advance(model, x, jnp.asarray(count)).model
        every = [*parts, steps(1), steps(1 + case.steps)]
        for each in every:
            seconds(each)
        turns = [[seconds(each) for each in every] for _ in range(TURNS)]
        spans = [min(column) for column in zip(*turns, strict=True)]
        ideal = 4 * case.rows * case.components * case.features / peak_flops(case.dtype)
    iteration = (spans[-1] - spans[-2]) / case.steps
    marks = [0.0, *spans[: len(parts)], iteration]
    adds = [later - earlier for earlier, later in itertools.pairwise(marks)]
    cells = [f"{1e3 * each:.1f}" for each in (iteration, *adds, ideal)]
    print("| " + " | ".join([name, *cells, f"{iteration / ideal:.1f}"]) + " |", flush=True)


def main(names: list[str]) -> None:
    """The chosen cases, one row each."""
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}; ms, what each part adds")
    heads = ["case", "iteration", *PARTS, "products at peak", "iteration / peak"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for name in names or CASES:
        run(name)


if __name__ == "__main__":
    main(sys.argv[1:])
