"""The pages of the docs, taken apart: code blocks with the mark before each, headings, commands of ours. For tests."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from streams.cli.main import main

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(
    r"(?:^ *<!-- (?P<mark>[^\n]*?) -->\n)?^(?P<indent> *)(?P<ticks>```+)(?P<language>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=ticks) *$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_INLINE = re.compile(r"`(secondlook [^`\n]+)`")
_ENDS_A_COMMAND = frozenset("|&;()<>")


class Block(NamedTuple):
    """A fenced block: its page and line, the comment before it, its language and text."""

    page: str
    line: int
    mark: str
    language: str
    body: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """Every fenced block of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("ticks")) + 1,
            found["mark"] or "",
            found["language"].strip(),
            re.sub(rf"^{found['indent']}", "", found["body"], flags=re.MULTILINE),
        )
        for found in _FENCE.finditer(text)
    ]


def without_blocks(page: str) -> str:
    """A page's text, its blocks taken out."""
    return _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    found: dict[str, int] = {}
    made = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        made.add(slug if slug not in found else f"{slug}-{found[slug]}")
        found[slug] = found.get(slug, 0) + 1
    return made


def inline_commands(page: str) -> list[str]:
    """What stands in a page's text, not in its blocks, as a command of ours."""
    return _INLINE.findall(without_blocks(page))


def commands(script: str) -> Iterator[list[str]]:
    """The words of each call of ours in a shell script, within `$(...)` too."""
    script = re.sub(r"<<'END'\n.*?^END$", "", script, flags=re.MULTILINE | re.DOTALL)
    lexer = shlex.shlex(
        script.replace("\\\n", " ").replace('"$(', "$( ").replace("\n", " ; "), posix=True, punctuation_chars=True
    )
    lexer.commenters = ""
    words: list[str] = []
    for word in lexer:
        if set(word) <= _ENDS_A_COMMAND:
            if words[:1] == ["secondlook"]:
                yield words
            words = []
        else:
            words.append(word)
    if words[:1] == ["secondlook"]:
        yield words


def problem(words: list[str]) -> str | None:
    """What the real parser has against the words of a command; None if nothing. Files need not be there."""
    command: click.Command = main
    context = click.Context(main, info_name="secondlook")
    rest = words[1:]
    while isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            break
        found = command.get_command(context, rest[0])
        if found is None:
            return f"{' '.join(words)}: there is no command {rest[0]!r}"
        command, rest = found, rest[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    try:
        given, _, order = command.make_parser(context).parse_args(rest)
    except click.UsageError as error:
        return f"{' '.join(words)}: {error.format_message()}"
    for parameter in order:
        values = given.get(parameter.name)
        for value in values if isinstance(values, list | tuple) else [values]:
            if isinstance(parameter.type, click.Choice) and value not in {None, "…", *parameter.type.choices}:
                return f"{' '.join(words)}: {value!r} is none of {', '.join(parameter.type.choices)}"
    return None
