"""Ctrl-C while the command line is still being imported: a sentence, and the end."""

import os
import signal
import sys
import threading
from typing import Any


def heed_ctrl_c() -> None:
    """End the process at Ctrl-C if it is `python -m jaxmix`, whose imports take a second or two.

    And without a word if it is one that the tour has begun.

    The `KeyboardInterrupt` that Python would raise may come inside a callback of the garbage
    collector, where it is printed and forgotten: the work went on.
    """
    at = sys.orig_argv.index("-m") if "-m" in sys.orig_argv else len(sys.orig_argv)
    # While its package is imported, the name of the file to run is not known yet.
    asked = sys.orig_argv[at + 1 : at + 2] if sys.argv[:1] == ["-m"] else []
    ends = {"jaxmix": _end, "jaxmix._tour": signal.SIG_DFL}.get("".join(asked))
    main = threading.current_thread() is threading.main_thread()
    if ends is not None and main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, ends)


def _end(number: int, frame: Any) -> None:
    sys.stdout.flush()
    print("\nInterrupted: nothing was written.", file=sys.stderr, flush=True)
    os._exit(130)


heed_ctrl_c()
