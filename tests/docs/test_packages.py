"""The picture of the packages says what the imports say."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STALE = "docs/packages.svg is stale: run `python docs/packages.py`"


def test_the_picture_shows_the_packages_and_their_imports():
    spec = importlib.util.spec_from_file_location("packages", ROOT / "docs" / "packages.py")
    packages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packages)
    committed = (ROOT / "docs" / "packages.svg").read_text()
    drawn = set(re.findall(r'data-from="(\w+)" data-to="(\w+)"', committed))
    assert drawn == packages.arrows(), STALE
    texts = re.findall(r"<text[^>]*>([^<]*)", committed)
    assert texts == re.findall(r"<text[^>]*>([^<]*)", packages.svg()), STALE
