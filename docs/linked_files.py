"""Links out of docs/ hold on the site too: each file that they lead to becomes a page of it.

A hook of mkdocs. Pages are written for GitHub, where ``../src/fcp/config.py`` is the file; on
the site it is the page ``repository/src/fcp/config.py.md``, Markdown as it is and code as code.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
FOLDER = "repository/"
ALWAYS = (  # the navigation's
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "src/fcp/models/small/README.md",
    "src/fcp/models/tiny/README.md",
)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)")
LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".cff": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file that is linked, also from another such page."""
    waiting = [*ALWAYS]
    for file in files.documentation_pages():
        waiting += _outside(f"docs/{file.src_uri}", file.content_string)
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in done or not (ROOT / path).is_file():
            continue  # a link to nothing stays as it is, and mkdocs tells of it
        done.add(path)
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, f"{FOLDER}{path}.md", content=_as_page(path, text)))
        if path.endswith(".md"):
            waiting += _outside(path, text)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links between the repository's files into links between the site's pages."""
    here = page.file.src_uri
    origin = here.removeprefix(FOLDER).removesuffix(".md") if _is_ours(here) else f"docs/{here}"
    if not origin.endswith(".md"):
        return markdown  # code is no place for links

    def lead(link: re.Match[str]) -> str:
        target = _resolve(origin, link[0])
        place = target.removeprefix("docs/") if _in_docs(target) else f"{FOLDER}{target}.md"
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    return LINK.sub(lead, markdown)


def _outside(origin: str, text: str) -> Iterator[str]:
    """Yield the files outside docs/ that a page of the repository links."""
    targets = (_resolve(origin, link) for link in LINK.findall(text))
    return (target for target in targets if not _in_docs(target))


def _resolve(origin: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))


def _in_docs(path: str) -> bool:
    return path.startswith("docs/")


def _is_ours(uri: str) -> bool:
    return uri.startswith(FOLDER)


def _as_page(path: str, text: str) -> str:
    if path.endswith(".md"):
        return text
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"# `{path}`\n\n````` {language}\n{text.rstrip()}\n`````\n"
