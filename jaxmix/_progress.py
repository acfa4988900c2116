"""A bar over work that lasts."""

import sys
import time
from typing import Any, Self

QUIET_SECONDS = 3.0


class Bar:
    """A bar of tqdm's, which comes once the work lasts and someone may look.

    Used as a context, at whose end it is closed.

    Args:
        wanted: whether to show it; None for work that lasts, on a terminal.
        how: what tqdm is told of it.
    """

    def __init__(self, wanted: bool | None, **how: Any):
        self.wanted, self.how = wanted, how
        self.began = time.monotonic()
        self.shown: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shown is not None:
            self.shown.close()

    def due(self, **how: Any) -> bool:
        """Whether it is `shown` by now."""
        lasting = time.monotonic() - self.began > QUIET_SECONDS and sys.stderr.isatty()
        if not (lasting if self.wanted is None else self.wanted):
            return False
        if self.shown is None:
            from tqdm.auto import tqdm

            self.shown = tqdm(**self.how, **how)
        return True

    def at(self, done: int, total: int) -> None:
        """Tell how far the work is."""
        if self.due(total=total):
            self.shown.n = done
            self.shown.refresh()

    def note(self, text: str) -> None:
        """Tell what is being done."""
        if self.due():
            self.shown.set_postfix_str(text)
