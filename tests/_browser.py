"""A page opened in a real browser, where this machine has one."""

import json
import re
import shutil
import subprocess
from html import unescape

import matplotlib.image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
QUIET = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1100,3000"
).split()
ASKED = """<pre id="seen"></pre><script>window.addEventListener("load", () => {
  document.getElementById("seen").textContent = JSON.stringify({
    text: document.body.innerText.slice(0, 4000),
    pictures: [...document.images].map(i => i.complete ? i.naturalWidth : 0),
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    tables: [...document.querySelectorAll("table")].map(t => t.rows.length),
  });
});</script>"""


def opened(page, folder):
    """What a reader sees of a page: text, widths of pictures, tables' rows; pixels of a picture."""
    asked, picture = folder / "asked.html", folder / "page.png"
    asked.write_text(page.read_text() + ASKED)
    run = [BROWSER, *QUIET, f"--user-data-dir={folder / 'profile'}"]
    shown = subprocess.run(
        [*run, "--dump-dom", asked.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    subprocess.run(
        [*run, f"--screenshot={picture}", page.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    seen = re.search(r'<pre id="seen">(.*?)</pre>', shown, re.S)
    assert seen, shown[-500:]
    return json.loads(unescape(seen[1])), matplotlib.image.imread(picture)
