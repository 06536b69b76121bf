"""The documentation: links that lead somewhere, and a site that needs nobody else."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = r'(?:href|src)="?([^"\s>]+)'


def test_links_lead_to_files():
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?![a-z]+:)([^)\s#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does; any warning ends that."""
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed; make docs installs it")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(out)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.process
def test_links_of_the_site_lead_to_files_and_nobody_else_is_asked_for_anything(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        for link in re.findall(LINK, text):
            path = link.partition("#")[0].partition("?")[0]
            if path and ":" not in path and page.name != "404.html":
                assert (page.parent / path).exists(), f"{page.relative_to(site)}: {link}"
        for element in re.findall(r"<(?:script|img|iframe|link|source)\b[^>]*", text):
            assert not re.search(r'(?:src|href)="?(?:https?:)?//', element), element
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(https?:)?//", sheet.read_text()), sheet


@pytest.mark.process
def test_the_home_is_the_readme_and_leads_everywhere(site):
    home = (site / "index.html").read_text()
    assert "results/demo/readme.svg" in home
    found = re.findall(LINK, home)
    assert "source/attacks/copycat.py.html" in found
    assert "yield" in (site / "source/attacks/copycat.py.html").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        path = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert path.replace("README", "index") in found
    index = json.loads((site / "search" / "search_index.json").read_text())
    texts = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"index.html", "pricing.html", "attacks/knockoff.html"} <= texts


def test_a_folder_without_pages_in_the_navigation_is_refused(tmp_path):
    exceptions = pytest.importorskip("mkdocs.exceptions")
    spec = spec_from_file_location("hook", ROOT / "docs" / "hook.py")
    hook = module_from_spec(spec)
    spec.loader.exec_module(hook)
    (tmp_path / "empty").mkdir()
    with pytest.raises(exceptions.PluginError, match="there are no pages in docs/empty/"):
        hook._listed({"Empty": "empty/"}, tmp_path)
