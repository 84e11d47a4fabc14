"""Checks the long description of built packages, which an index shows: no link or picture of it is relative.

``check_readme.py dist/*.whl dist/*.tar.gz`` prints what is wrong and exits with 1. twine checks only that the text can
be rendered.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from check_site import Page

_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_TARGET = re.compile(r"\]\(\s*<?([^)\s>]*)|^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)", re.MULTILINE)
_ABSOLUTE = ("https://", "http://", "mailto:", "#")


def relative(text: str) -> Iterator[str]:
    """Yield each address in a Markdown text, or in its HTML, that needs files beside it."""
    text = _CODE.sub("", text)
    page = Page(text)
    addresses = [first or second for first, second in _TARGET.findall(text)] + page.links + page.loaded
    yield from (address for address in addresses if not address.startswith(_ABSOLUTE))


def description(package: Path) -> str:
    """Return the long description in a wheel or a source distribution."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = wheel.read(name)
    else:
        with tarfile.open(package) as sdist:
            (name,) = (name for name in sdist.getnames() if re.fullmatch(r"[^/]+/PKG-INFO", name))
            member = sdist.extractfile(name)
            assert member is not None
            metadata = member.read()
    return metadata.decode().replace("\r\n", "\n").partition("\n\n")[2]


def main(packages: list[Path]) -> int:
    """Print the problems, and return the exit code."""
    found = []
    for package in packages:
        text = description(package)
        found += [f"{package.name}: {address} is relative" for address in relative(text)]
        found += [] if text.strip() else [f"{package.name} has no long description"]
    print(
        "\n".join(found) or f"no relative link in the long description of {', '.join(path.name for path in packages)}"
    )
    return 1 if found or not packages else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
