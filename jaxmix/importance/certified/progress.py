"""A bar over passes that last."""

import sys
import time
from typing import Any, Self

QUIET_SECONDS = 3.0


class Progress:
    """Shows how many draws have been looked at, once a pass lasts; ctrl-C ends it at a block."""

    def __init__(self, wanted: bool | None, name: str):
        self.wanted, self.name = wanted, name
        self.began = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _shown(self, total: int | None = None) -> bool:
        lasting = time.monotonic() - self.began > QUIET_SECONDS and sys.stderr.isatty()
        if not (lasting if self.wanted is None else self.wanted):
            return False
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, desc=self.name, unit="draw", unit_scale=True)
        return True

    def blocks(self, done: int, total: int) -> None:
        """Tell how many draws have been looked at."""
        if self._shown(total):
            self._bar.n = done
            self._bar.refresh()

    def note(self, text: str) -> None:
        """Tell what is being done."""
        if self._shown():
            self._bar.set_postfix_str(text)
