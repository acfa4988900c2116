"""One fit by two processes, each reading its own files: `python notebooks/two_processes.py`.

Run without arguments it writes four files, starts both processes on this machine, and compares
their models. On a cluster each machine runs the `work` part, with the address of the first.
"""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PROCESSES = 2


def work(address: str, index: int, folder: str) -> None:
    """What each process does: join the others, open its share of the files, fit."""
    import jax

    jax.distributed.initialize(address, num_processes=PROCESSES, process_id=index)
    import jax.numpy as jnp

    import jaxmix as jm

    source = jm.data.NpyFolder(folder, batch_size=256, part=(index, PROCESSES))
    means = jnp.asarray(np.load(Path(folder) / "part0.npy")[:3])  # the same start everywhere
    parts = jax.vmap(jm.DiagonalNormal)(means, jnp.full((3, 2), 2.0))
    start = jm.MixtureSameFamily(jnp.full(3, 1 / 3), parts)
    fit = jm.fit(None, start, source, init="given", max_steps=12, tol=None)
    print("end", float(fit.log_likelihood), *np.ravel(fit.model.components.mean), flush=True)


def launch(folder: str) -> list[str]:
    """Start both processes here, and give what each printed last."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, address, str(index), folder],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for index in range(PROCESSES)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    for process, (_, error) in zip(running, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(error)
    return [out.strip().splitlines()[-1] for out, _ in outputs]


def main() -> None:
    """Write files, launch, compare."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(3, 2))
    with tempfile.TemporaryDirectory() as folder:
        for part in range(4):
            which = rng.integers(3, size=500 + 100 * part)
            x = centres[which] + rng.normal(size=(len(which), 2))
            np.save(Path(folder) / f"part{part}.npy", x.astype(np.float32))
        first, second = launch(folder)
    print(first)
    assert first == second, "the processes disagree"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        main()
