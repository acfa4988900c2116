"""Claim: a pass over the data costs in proportion to rows and components; how it grows, drawn.

One quantity varies at a time about 65,536 rows, 32 components and 16 dimensions, in float32.
python -m benchmarks.growth [picture.png]
"""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

import jaxmix as jm

matplotlib.use("Agg")
from matplotlib import pyplot as plt

MIDDLE = {"rows": 65_536, "components": 32, "dimensions": 16}
VALUES = {
    "rows": [4_096, 16_384, 65_536, 262_144],
    "components": [2, 8, 32, 128],
    "dimensions": [2, 8, 32, 64],
}
KINDS = {
    "full": lambda m: jm.MultivariateNormal(m, jnp.eye(m.shape[0])),
    "diagonal": lambda m: jm.DiagonalNormal(m, jnp.ones(m.shape[0])),
    "spherical": lambda m: jm.SphericalNormal(m, 1.0),
}


def seconds(kind: str, rows: int, components: int, dimensions: int) -> float:
    """The least time of one pass: log-likelihood and expected statistics."""
    rng = np.random.default_rng(0)
    means = jnp.asarray(2 * rng.normal(size=(components, dimensions)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(rows, dimensions)), jnp.float32)
    weights = jnp.full(components, 1 / components)
    model = jm.MixtureSameFamily(weights, jax.vmap(KINDS[kind])(means))
    one_pass = jax.jit(jm.em.expected_stats).lower(model, x).compile()
    times = []
    for _ in range(4):
        began = time.perf_counter()
        jax.block_until_ready(one_pass(model, x))
        times.append(time.perf_counter() - began)
    return min(times)


def main(picture: str = "growth.png") -> None:
    """Print the table and save the picture."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    print("| varied | value | " + " | ".join(f"{kind}, ms" for kind in KINDS) + " |")
    print("|---|---|" + "---|" * len(KINDS))
    for panel, (name, values) in zip(panels, VALUES.items(), strict=True):
        table = np.array(
            [[seconds(kind, **(MIDDLE | {name: value})) for kind in KINDS] for value in values]
        )
        for value, row in zip(values, table, strict=True):
            print(f"| {name} | {value} | " + " | ".join(f"{1e3 * t:.2f}" for t in row) + " |")
        for kind, times in zip(KINDS, table.T, strict=True):
            panel.loglog(values, 1e3 * times, "o-", label=kind)
        proportional = 1e3 * table[-1].min() * np.array(values) / values[-1]
        panel.loglog(values, proportional, ":", color="grey", label="in proportion")
        fixed = ", ".join(f"{v:,} {k}" for k, v in MIDDLE.items() if k != name)
        panel.set(xlabel=name, title=fixed)
        panel.set_xticks(values, [f"{v:,}" for v in values])
        panel.minorticks_off()
    panels[0].set_ylabel("one pass, ms")
    panels[0].legend()
    figure.savefig(picture, dpi=110)
    print(f"picture: {Path(picture).resolve()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
