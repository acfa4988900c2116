"""The later chapters of the tour, in a process of their own: what they print and write, as JSON."""

import contextlib
import io
import json
import sys
from pathlib import Path

from .._compile import compilation_cache
from .._page import looking_seldom_for_garbage
from . import chapters

if __name__ == "__main__":
    compilation_cache()
    looking_seldom_for_garbage()
    folder, *names = sys.argv[1:]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        written = chapters(Path(folder), names)
    json.dump((said.getvalue(), [path.name for path in written]), sys.stdout)
