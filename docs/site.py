"""`python -m docs.site stage|check`: the pages of the site in one folder, for mkdocs; and that what it built asks nothing of anybody else.

`stage` copies every Markdown page of the repository, and whatever these link to, into build/site/pages, each where it is in the repository: a link
that holds there holds in the site. `check` reads the built pages and fails on what a browser would fetch from another host.
"""

import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

_ROOT: Final = Path(__file__).parents[1]
_PAGES: Final = _ROOT / "build/site/pages"
_HTML: Final = _ROOT / "build/site/html"
_FOLDERS: Final = ("", "docs", "docs/*", "benchmarks", "scoring/recordings", "deploy", "deploy/*")
_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE: Final = re.compile(r"^( *)(```+)[^\n]*\n.*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_STYLE: Final = re.compile(r"@import\s+[\"']([^\"']+)|url\(\s*[\"']?(?!data:)([^\"')]+)")
_CODE: Final = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)


def pages(root: Path = _ROOT) -> list[Path]:
    """The Markdown pages, by their paths in the repository."""
    return sorted(
        file.relative_to(root) for folder in _FOLDERS for file in root.glob(f"{folder}/*.md" if folder else "*.md")
    )


def links(page: str) -> list[str]:
    """Where a page's links and pictures lead; not what only looks so in code."""
    return [match[1] for match in _LINK.finditer(_CODE.sub("", _FENCE.sub("", page)))]


def stage(root: Path = _ROOT, folder: Path = _PAGES) -> None:
    """Put the pages, and the files that they link to, into the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for page in pages(root):
        for file in {page, *_linked(root, page)}:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, folder / file)


def _linked(root: Path, page: Path) -> Iterator[Path]:
    for link in links((root / page).read_text(encoding="utf-8")):
        target = urlsplit(link)
        file = (root / page.parent / unquote(target.path)).resolve()
        if not target.scheme and target.path and file.is_file():
            yield file.relative_to(root)


class _Loads(HTMLParser):
    """Collects what a browser fetches by itself when it shows a page: not where a reader may click to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        given = {name: value or "" for name, value in attrs}
        if tag != "a":
            self.found += [given[name] for name in ("src", "srcset", "data", "poster", "action") if name in given]
        if tag == "link" and given.get("rel") not in {"canonical", "next", "prev"}:
            self.found.append(given.get("href", ""))
        self.found += _in_style(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        """See HTMLParser: styles and scripts come here."""
        self.found += _in_style(data)


def _in_style(text: str) -> list[str]:
    return [one or other for one, other in _STYLE.findall(text)]


def outside(text: str, kind: str) -> list[str]:
    """What a file of the site (`.html` or `.css`) loads from another host."""
    if kind == ".css":
        found = _in_style(text)
    else:
        parser = _Loads()
        parser.feed(text)
        found = parser.found
    return [one for one in found if re.match(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", one, re.IGNORECASE)]


def check(folder: Path = _HTML) -> list[str]:
    """Each load from another host in what was built, with its file."""
    files: Iterable[Path] = (file for kind in ("html", "css") for file in sorted(folder.rglob(f"*.{kind}")))
    return [
        f"{file.relative_to(folder)}: {load}"
        for file in files
        for load in outside(file.read_text(encoding="utf-8"), file.suffix)
    ]


def main() -> None:
    """Stage, or check and say what was found."""
    match sys.argv[1:]:
        case ["stage"]:
            stage()
        case ["check"]:
            found = check()
            if found or not (_HTML / "index.html").is_file():
                sys.exit(
                    "\n".join(["the site loads from other hosts:", *found]) if found else f"there is no site in {_HTML}"
                )
        case _:
            sys.exit("python -m docs.site stage|check")


if __name__ == "__main__":
    main()
