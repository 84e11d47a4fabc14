"""Checks the built documentation site: no broken link, nothing that a page loads from elsewhere.

``check_site.py FOLDER`` prints what is wrong and exits with 1. MkDocs checks links between pages; this also checks
those that a theme, a plugin or a docstring adds.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes with which a page loads something by itself.
_LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
#: Relations of a `link` that load nothing.
_NAMED_ONLY = {"canonical", "next", "prev", "edit", "alternate"}


class Page(HTMLParser):
    """The names and addresses in one page.

    Attributes:
        names: what a link may point to.
        links: addresses that a person follows.
        loaded: addresses that the browser loads by itself.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = {""}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one element names, links and loads."""
        found = {name: value or "" for name, value in attrs}
        self.names |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif _LOADED.get(tag, "") in found and found.get("rel") not in _NAMED_ONLY:
            self.loaded.append(found[_LOADED[tag]])


def problems(site: Path) -> list[str]:
    """Return what is wrong with a site, a line each."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of the server
            continue
        name = path.relative_to(site)
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    found.append(f"{name} loads {address}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                found.append(f"{name} links {address}, which does not exist")
            elif target in pages and unquote(parts.fragment) not in pages[target].names:
                found.append(f"{name} links {address}, and that page has no such place")
    for path in site.rglob("*.css"):
        loads = re.findall(r"url\([\"']?(https?:[^)]*)", path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(site)} loads {address}" for address in loads]
    return found


def main(site: Path) -> int:
    """Print the problems, and return the exit code."""
    found = problems(site.resolve())
    pages = len([*site.rglob("*.html")])
    print("\n".join(found) or f"{pages} pages, no broken link, nothing loaded from elsewhere")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
