"""What commands show: lines and tables, in which nothing that anybody wrote drives the terminal, and JSON."""

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.printable import printable


def say(console: Console, text: str, style: str = "") -> None:
    """Print a text on a line of its own."""
    console.print(Text(printable(text), style=style))


def table(*columns: str) -> Table:
    """A table with these heads, and no lines."""
    made = Table(box=None, header_style="dim", pad_edge=False)
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def row(of: Table, *cells: str | None) -> None:
    """Add a row; a cell without a text is empty."""
    of.add_row(*(Text("" if cell is None else printable(cell)) for cell in cells))


def echo_json(document: object) -> None:
    """Print a document as JSON, indented."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
