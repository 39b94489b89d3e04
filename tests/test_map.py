"""The maps of README and CONTRIBUTING are the folders on disk."""

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _on_disk() -> set[str]:
    """Every folder at the top that git keeps, and every package, or crate, in one of these."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    top = {
        folder.name
        for folder in ROOT.iterdir()
        if folder.is_dir() and folder.name[0] != "." and not any(fnmatch(folder.name, one) for one in ignored)
    }
    roots = (root for kind in ("__init__.py", "Cargo.toml") for name in top for root in (ROOT / name).glob(f"*/{kind}"))
    packages = {root.parent.relative_to(ROOT) for root in roots}
    return top | {package.as_posix() for package in packages}


def test_contributings_tree_is_the_one_on_disk() -> None:
    """Folders by indentation, with what each is for."""
    _, block, _ = (ROOT / "CONTRIBUTING.md").read_text().split("## The map")[1].split("```", 2)
    named, above = set(), ""
    for indent, folder in re.findall(r"^( *)(\S+)/ +\S", block, re.MULTILINE):
        above = above if indent else folder
        named.add(f"{above}/{folder}" if indent else folder)
    assert _on_disk() == named


def test_readmes_table_is_what_is_on_disk() -> None:
    """A row for each folder; the packages within are named in its words."""
    table = (ROOT / "README.md").read_text().split("## Find your way around")[1]
    named = set()
    for folder, words in re.findall(r"^\| `(\w+)/` \| (.*) \|$", table, re.MULTILINE):
        named |= {folder, *(f"{folder}/{package}" for package in re.findall(r"`(\w+)/`", words))}
    assert _on_disk() == named
