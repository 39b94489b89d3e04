"""`secondlook train` and `secondlook evaluate`: files in, a model directory or a report out."""

from importlib import import_module
from pathlib import Path
from typing import Any

import click

DATA = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--data", "files", type=DATA, multiple=True, metavar="FILE", help="Labelled answers, JSONL (.xz, .gz).")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("models"), show_default=True)
@click.option("--single", metavar="ESTIMATOR", help="A model without labels from one estimator, such as max-softmax.")
def train(files: tuple[Path, ...], out: Path, single: str | None) -> None:
    """Train the meta-model on labelled answers and write it to a model directory.

    About 40 % of the items, chosen by a hash of their id, are never trained on: `evaluate` reports on those.
    """
    if single:
        onnx, card = _scoring("cold_start").single_estimator_model(single)
    elif files:
        trained = _scoring("training").train(_read(files))
        onnx, card = trained.onnx, trained.card
    else:
        raise click.UsageError("Say what to train on: --data FILE, or --single ESTIMATOR for a model without labels.")
    home = _scoring("store").write_model(out, onnx, card)
    click.echo(f"{card['name']} -> {home}")
    click.echo(card["verdict"])


def _read(files: tuple[Path, ...]) -> Any:
    read_recording = _scoring("recording").read_recording
    return _scoring("dataset").from_items([item for file in files for item in read_recording(file)])


def _scoring(module: str) -> Any:
    """A module of `scoring`, imported only when used: the libraries behind it take seconds and may not be installed."""
    try:
        return import_module(f"scoring.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"scoring", "featurizers"}:
            raise
        raise click.ClickException(
            f"{error.name} is missing: training needs `pip install 'secondlook[train]'`."
        ) from error
