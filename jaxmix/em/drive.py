"""The one loop on the host, under arrays, sources and online alike: blocks, the bar, and ctrl-C."""

import functools
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import numpy as np

from .._progress import Bar
from .checkpoint import Keeper


class Progress:
    """Shows how far a fit is and how good; remembers an interrupt instead of dying of it.

    Used as a context: inside it ctrl-C sets `interrupted`, and a second ctrl-C raises.

    Args:
        total: at most so many of `unit`.
        wanted: whether to show a bar; None for fits that last.
        unit: what is counted.
    """

    def __init__(self, total: int, wanted: bool | None, unit: str = "step"):
        self.bar = Bar(wanted, total=total, desc="EM", unit=unit)
        self.interrupted = False
        self._old: Any = None

    def __enter__(self) -> Self:
        # Signals belong to the main thread; elsewhere ctrl-C keeps its usual meaning.
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)
        self.bar.__exit__()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def show(self, told: Callable[[], tuple[int, float]]) -> None:
        """Show what is told: how many units are done, and nats a datum."""
        if self.bar.due():
            self.bar.shown.n, level = told()
            self.bar.shown.set_postfix_str(f"{level:.6f} nats a datum")


def best_of_all(state: Any, trace: list[Any]) -> tuple[int, float]:
    """Steps, and the best objective in nats a datum, of one fit's state or of a stack of them."""
    del trace
    total, weight = state.expected.objective, np.asarray(state.expected.weight)
    best = np.max((np.asarray(total.high) + np.asarray(total.low)) / weight)
    return int(np.max(state.num_steps)), float(best)


def drive(
    block: Callable[[Any, list[Any]], tuple[Any, list[Any]] | None],
    state: Any,
    trace: list[Any],
    bar: Progress,
    keeper: Keeper | None = None,
    told: Callable[[Any, list[Any]], tuple[int, float]] = best_of_all,
) -> tuple[Any, list[Any]]:
    """Blocks of a fit, one after another, until nothing is left to do, or ctrl-C.

    A block is what runs between two looks of the host: some steps of every lane over arrays, a
    step over a source, which is a pass over its batches, or one batch of online EM.

    Args:
        block: from a state and the trace so far to the next state and what it adds to the trace;
            None where nothing is left, or where ctrl-C cut it short: it then counts for nothing.
        state: where to begin.
        trace: of the blocks before.
        bar: shown after each block; the caller has entered it as a context.
        keeper: writes checkpoints; None for none.
        told: from a state and the trace to what the bar shows.

    Returns:
        The last state and the whole trace.
    """
    trace = list(trace)
    while (done := block(state, trace)) is not None:
        state, part = done
        trace += part
        if keeper is not None:
            keeper(state, trace)
        bar.show(functools.partial(told, state, trace))
        if bar.interrupted:
            break
    if keeper is not None:
        keeper.write(state, trace)
    return state, trace
