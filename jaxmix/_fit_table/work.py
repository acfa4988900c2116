"""Work that lasts: it is said while it lasts, it stops when it is told to, and its folder is written
whole or not at all.
"""

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

SECONDS = 10.0
TOLD = (
    "reading.json", "joint.npz", "posteriors.csv", "imputed.csv", "rows.csv", "fields.png",
    "assignments.png", "history.png", "lines.png", "report.md", "report.html",
)  # fmt: skip
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


class Place:
    """A folder to write into: what is begun in `part` appears in `folder` at the end.

    It is made before the work: one that can't be written is found at once. One with a report in
    it is kept, and another is taken beside it, unless `force` says to overwrite.
    """

    def __init__(self, folder: Path, force: bool = False):
        wanted, number = folder, 2
        taken = lambda at: (at / "report.md").exists() or (at / "model.npz").exists()
        while not force and taken(folder):
            folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
        if folder != wanted:
            print(
                f"{wanted} holds a report already: this one goes to {folder} (--force overwrites)."
            )
        self.folder, self.begun = folder, ""
        self.made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self.part = folder / ".part"
        shutil.rmtree(self.part, ignore_errors=True)
        self.part.mkdir()

    def keep(self, *names: str, words: str = "the model") -> list[Path]:
        """Move finished files (all of them, if none is named) to the folder; a model in words."""
        files = [self.part / name for name in names] or sorted(self.part.iterdir())
        if "model.npz" in names:
            self.begun = words
            for name in TOLD:  # of an earlier model: it would be taken for this one's
                (self.folder / name).unlink(missing_ok=True)
        for file in files:
            os.replace(file, self.folder / file.name)
        return [self.folder / file.name for file in files]

    def clear(self) -> None:
        """Remove what was begun, and the folder if nothing is in it that was finished."""
        shutil.rmtree(self.part, ignore_errors=True)
        if self.made and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def holds(self) -> str:
        """What is there of the work so far."""
        return f"{self.begun} is in {self.folder}" if self.begun else "nothing was written"


@contextmanager
def stopped_by_ctrl_c(place: Place) -> Iterator[None]:
    """End the process within moments of Ctrl-C, with a sentence, and nothing half-written.

    Compilations and fits run in compiled code, from which Python returns too late: a thread of
    its own is told of the signal by the interpreter's wake-up descriptor.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, tells = socket.socketpair()
    tells.setblocking(False)
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            number = told.recv(1)
            if done.is_set() or not number:
                return
            if number[0] == signal.SIGINT:
                place.clear()
                sys.stdout.flush()
                print(f"\nInterrupted: {place.holds()}.", file=sys.stderr, flush=True)
                os._exit(130)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    except BaseException:
        place.clear()
        if place.begun:
            print(f"\nNot finished: {place.holds()}.", file=sys.stderr, flush=True)
        raise
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.set_wakeup_fd(before)
        done.set()
        tells.send(b"\0")
        watcher.join()
        told.close()
        tells.close()
    place.clear()
