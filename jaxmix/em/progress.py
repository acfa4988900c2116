"""A progress bar on fits that last, and ctrl-C that keeps what was found."""

import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Self

import numpy as np

QUIET_SECONDS = 3.0


class Progress:
    """Shows steps and the best log-likelihood; remembers an interrupt instead of dying of it.

    Used as a context: inside it ctrl-C sets `interrupted`, and a second ctrl-C raises.
    """

    def __init__(self, max_steps: int, wanted: bool | None):
        self.max_steps = max_steps
        self.wanted = wanted
        self.interrupted = False
        self.began = time.monotonic()
        self._bar: Any = None
        self._old: Any = None

    def __enter__(self) -> Self:
        # Signals belong to the main thread; elsewhere ctrl-C keeps its usual meaning.
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)
        if self._bar is not None:
            self._bar.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def show(self, states: Any) -> None:
        """Tell how far the restarts are."""
        lasting = time.monotonic() - self.began > QUIET_SECONDS and sys.stderr.isatty()
        if not (lasting if self.wanted is None else self.wanted):
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self.max_steps, desc="EM", unit="step")
        self._bar.n = int(np.max(states.num_steps))
        total, weight = states.expected.objective, np.asarray(states.expected.weight)
        best = np.max((np.asarray(total.high) + np.asarray(total.low)) / weight)
        self._bar.set_postfix_str(f"{float(best):.6f} nats a datum")
        self._bar.refresh()
