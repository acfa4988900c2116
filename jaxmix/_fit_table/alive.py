"""What is being done, said every few seconds while it lasts."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

SECONDS = 10.0

_now = ["", "", 0.0]  # what, how far, since when


def at_work(what: str, how_far: str = "") -> None:
    """Begin something that may last, or go on with it."""
    _now[:] = [what, how_far, _now[2] if what == _now[0] else time.monotonic()]


@contextmanager
def said_while_it_lasts() -> Iterator[None]:
    """Say what is `at_work`, every few seconds, beside whatever else is said."""
    done = threading.Event()

    def say() -> None:
        while not done.wait(SECONDS):
            what, how_far, since = _now
            if what:
                colon = f": {how_far}" if how_far else ""
                tqdm.write(f"{what}{colon} ({time.monotonic() - since:.0f} s)", file=sys.stdout)
                sys.stdout.flush()

    teller = threading.Thread(target=say, daemon=True)
    teller.start()
    try:
        yield
    finally:
        at_work("")
        done.set()
        teller.join()
