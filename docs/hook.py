"""What mkdocs does not do by itself, for this site.

- The README is its home. It is read, not copied; its links are turned to where they lead here.
- A folder in the navigation stands for its pages, README first, so that a new page needs no entry.
- A link out of `docs/` leads to a page that shows that file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = "docs"
HOME = "index.md"
SOURCE = "source"  # folder of the pages that show files
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)\s#]+)((?:#[^)\s]*)?\))")


def on_config(config: MkDocsConfig) -> None:
    """Lists the pages of each folder in the navigation."""
    config.nav = [_listed(entry, Path(config.docs_dir)) for entry in config.nav]


def _listed(entry: dict[str, str], docs: Path) -> dict[str, Any]:
    ((title, target),) = entry.items()
    if not target.endswith("/"):
        return entry
    pages = (path.relative_to(docs).as_posix() for path in (docs / target).rglob("*.md"))
    found = sorted(pages, key=lambda page: (page != f"{target}README.md", page))
    if not found:
        raise PluginError(f"mkdocs.yml: there are no pages in {DOCS}/{target}")
    return {title: found}


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the home page, and a page for each file outside of docs that some page points to."""
    root = Path(config.config_file_path).parent
    home = (root / "README.md").read_text(encoding="utf-8")
    texts = [("", home)] + [
        (posixpath.join(DOCS, posixpath.dirname(file.src_uri)), file.content_string)
        for file in files.documentation_pages()
    ]
    files.append(File.generated(config, HOME, content=home))
    for path in sorted({path for where, text in texts for path in _outside(where, text)}):
        content = (root / path).read_text(encoding="utf-8")
        language = Path(path).suffix.lstrip(".") or "text"
        page = f"# {path}\n\n````{language}\n{content}\n````\n"
        files.append(File.generated(config, f"{SOURCE}/{path}.md", content=page))


def _outside(where: str, text: str) -> Iterator[str]:
    for match in LINK.finditer(text):
        path = posixpath.normpath(posixpath.join(where, match[2]))
        if not path.startswith(f"{DOCS}/"):
            yield path


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turns links to files of the repository to where they lead on the site."""
    uri = page.file.src_uri
    if uri.startswith(f"{SOURCE}/"):
        return markdown
    here = posixpath.dirname(uri)
    where = "" if uri == HOME else posixpath.join(DOCS, here)

    def turned(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(where, match[2]))
        inside = path.startswith(f"{DOCS}/")
        target = path.removeprefix(f"{DOCS}/") if inside else f"{SOURCE}/{path}.md"
        return f"{match[1]}{posixpath.relpath(target, here or '.')}{match[3]}"

    return LINK.sub(turned, markdown)
