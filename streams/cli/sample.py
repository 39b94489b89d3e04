"""`secondlook sample`: labelled answers in the words of a spec, to try it out with before there are own ones."""

from pathlib import Path

import click
import msgspec

from streams.cli.main import ResultFile
from streams.settings import PREFIX

_SCALE = 100
"""What stands for certainty in the recording."""


@click.command()
@click.option(
    "--spec",
    required=True,
    envvar=f"{PREFIX}OUTCOME_SPEC",
    show_envvar=True,
    help="The TOML file of an outcome spec, or a preset's name.",
)
@click.option("--out", type=ResultFile(), required=True, metavar="FILE", help="Where to write them, as JSONL.")
def sample(spec: str, out: Path) -> None:
    """Write the recorded answers in the words of a spec. They take the place of your own LLM's, labels included.

    It is the English recording that ships with secondlook, of a small and weak LLM: its log-probabilities as they were, its digits as your
    words, its confidence of 0 to 100. A line is {"request", "response", "label"}, which `train --data`, `evaluate --data` and `replay` read. A
    file that is there already stays: it may hold answers of your own.
    """
    from featurizers import load_spec
    from scoring import RECORDING, read_recording
    from scoring.data import reworded

    if out.exists():
        raise click.ClickException(f"{out} is there already: remove it, or name another file")
    read = load_spec(spec)
    recorded = read_recording(RECORDING)
    items = reworded(recorded, read)
    with out.open("wb") as file:
        for item in items:
            label = read.labels[item.label][0]
            file.write(
                msgspec.json.encode({"request": item.request, "response": item.response, "label": label}) + b"\n"
            )
    if (read.confidence_field or read.confidence_pattern) and read.confidence_scale != _SCALE:
        click.echo(
            f"note: the recorded confidences are of 0 to {_SCALE}, and the spec's scale is {read.confidence_scale:g}: hardly one is read",
            err=True,
        )
    left = len(recorded) - len(items)
    click.echo(
        f"{out}: {len(items)} answers of {len(recorded)}" + (f"; {left} cannot be said in these words" if left else "")
    )
