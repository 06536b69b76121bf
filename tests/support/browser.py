"""Pages as chromium shows them."""

import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: chromium)")


def shown(url, profile, *flags):
    """The document as its scripts left it; fails if the browser complained of anything."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-sync", "--enable-logging=stderr"]
    command += [f"--user-data-dir={profile}", "--dump-dom", *flags, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert not re.search(":CONSOLE", done.stderr), done.stderr
    return done.stdout
