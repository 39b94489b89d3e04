"""`secondlook train` and `secondlook evaluate`: files or topics in, a model directory or a report out."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streams.cli.control_options import Moment
from streams.cli.main import ResultFile, setting_options, settings_from
from streams.settings import Settings

if TYPE_CHECKING:
    from featurizers import OutcomeSpec
    from scoring import Accounting
    from scoring.data import Joined, Window

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_TRAINING_LIBRARIES = {"jinja2", "markupsafe", "onnx", "scipy", "skl2onnx", "sklearn", "threadpoolctl"}


def data_options(command: _Command) -> _Command:
    """Where labelled answers come from, topics with their broker among it; what `load_labelled` takes."""
    return label_options(setting_options("broker", "topic_prefix", "outcome_spec")(command))


def label_options(command: _Command) -> _Command:
    """The same, beside a command's own settings."""
    for name, when in (("--until", "before this time"), ("--since", "from this time on")):
        text = f"Only answers that were decided {when}, such as 2026-01-31T09:00:00Z."
        command = click.option(name, type=Moment(), metavar="TIME", help=text)(command)
    command = click.option(
        "--from-topics",
        is_flag=True,
        help="LPP vectors and human decisions, straight from their topics: all that these hold now.",
    )(command)
    for name, text in (
        ("--decisions", "Human decisions, a JSONL export of their topic, to label --vectors with."),
        ("--vectors", "LPP vectors, a JSONL export of their topic; needs --decisions."),
    ):
        command = click.option(name, type=_FILE, metavar="FILE", help=text)(command)
    return click.option(
        "--data",
        "files",
        type=_FILE,
        multiple=True,
        metavar="FILE",
        help='Labelled answers, JSONL (.xz, .gz) of {"request", "response", "label"}, labelled vectors, or label distributions without text, {"label", "logprobs", "gold"}; may be repeated.',
    )(command)


_cost_ratio = click.option(
    "--cost-ratio", type=float, default=0.64, show_default=True, help="c_rev / c_mis: a review's cost over a mistake's."
)


@click.command()
@data_options
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("models"), show_default=True)
@click.option("--single", metavar="ESTIMATOR", help="A model without labels from one estimator, such as max-softmax.")
@click.option(
    "--accounting",
    type=click.Choice(["false-discovery", "review-charged"]),
    default="false-discovery",
    show_default=True,
    help="Whose expected cost chooses the model.",
)
@_cost_ratio
@click.option(
    "--only",
    multiple=True,
    metavar="FAMILY",
    help="Choose among these families alone, such as ridge or label-policy-language; may be repeated.  [default: all]",
)
def train(
    *, out: Path, single: str | None, accounting: "Accounting", cost_ratio: float, only: tuple[str, ...], **source: Any
) -> None:
    """Train the meta-model on labelled answers. It is written to a model directory, as a candidate.

    Of an empty directory it becomes the current model, by which workers start. In any other, that stays until `secondlook models promote`.
    About 40 % of the items, chosen by a hash of their request_id, are never trained on: `evaluate` reports on those.
    """
    from scoring.store import add_model, current_model, promote

    with training_extra():
        from scoring import training
    if single:
        _refuse({**source, "only": only}, "--single reads no data")
        onnx, card = training.single_estimator_model(single)
    else:
        joined = load_labelled(**source)
        trained = training.train(
            joined.data,
            traffic=joined.traffic,
            accounting=accounting,
            cost_ratio=cost_ratio,
            families=only or tuple(training.FAMILIES),
        )
        onnx, card = trained.onnx, trained.card
    home, current = add_model(out, onnx, card), current_model(out)
    click.echo(f"{card['name']} -> {home}")
    click.echo(card["verdict"])
    if current is None:
        promote(out, home.name)
        click.echo(f"It is the current model of {out}, which had none.")
    elif current != home.name:
        click.echo(
            f"It is a candidate: {current[:12]} stays the current model. To compare them, on labels of later answers, and change over: "
            f"secondlook models promote {home.name[:12]} --from-topics --model {out}"
        )


@click.command()
@click.option(
    "--model", type=click.Path(exists=True, path_type=Path), required=True, help="Model directory or .onnx file."
)
@data_options
@click.option("--json", "json_path", type=ResultFile(), metavar="PATH", help="Write every figure as JSON.")
@click.option("--html", "html_path", type=ResultFile(), metavar="PATH", help="Write a self-contained report.")
@_cost_ratio
def evaluate(*, model: Path, json_path: Path | None, html_path: Path | None, cost_ratio: float, **source: Any) -> None:
    """Judge a model beside every baseline. On the items that no training has seen."""
    from scoring import load_model

    with training_extra():
        from scoring import evaluation
    joined = load_labelled(**source)
    result = evaluation.evaluate(load_model(model), joined.data, traffic=joined.traffic, cost_ratio=cost_ratio)
    if json_path:
        json_path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    if html_path:
        html_path.write_text(evaluation.html_report(result), encoding="utf-8")
    click.echo(evaluation.comparison(result))
    for sentence in result["conclusions"]:
        click.echo(f"- {sentence}")


def load_labelled(
    *,
    files: tuple[Path, ...],
    vectors: Path | None,
    decisions: Path | None,
    from_topics: bool,
    since: datetime | None,
    until: datetime | None,
    **options: Any,
) -> "Joined":
    """The labelled answers that the options name, with the traffic that they are of."""
    from scoring.data import Joined, Window, load

    window = Window(since, until)
    match bool(files), vectors, decisions, from_topics:
        case True, None, None, False:
            spec = _spec(options.pop("outcome_spec"), options.pop("config", None))
            _refuse(options, "--data reads no topics")
            data = load(files, window, spec)
            if bare := int(data.bare.sum()):
                click.echo(
                    f"note: {bare} of {len(data)} answers have no log-probabilities: most of their predictors are missing, and little is learned "
                    "(ask the LLM for logprobs and top_logprobs)",
                    err=True,
                )
            return Joined(data, Counter())
        case False, Path(), Path(), False:
            _refuse(options, "--vectors and --decisions are files: no topics are read")
            return _join(window, (str(vectors), lines_of(vectors)), (str(decisions), lines_of(decisions)))
        case False, None, None, True:
            _refuse(
                {"outcome_spec": options.pop("outcome_spec")},
                "--from-topics reads vectors, and workers made these by their spec",
            )
            return _join(window, *_topics(settings_from(options)))
    raise click.UsageError(
        "Say what to read, one of: --data FILE (repeatable); --vectors FILE with --decisions FILE; --from-topics."
    )


def _spec(given: str | None, file: Path | None) -> "OutcomeSpec":
    """The spec of the flag, of the environment, of the file of settings, or the default."""
    from featurizers import load_spec

    return load_spec(settings_from({"config": file, "kafka": (), "outcome_spec": given}).outcome_spec)


def _refuse(options: dict[str, Any], why: str) -> None:
    """Options that would be ignored are more likely a mistake than meant."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if given:
        raise click.UsageError(f"{why}: leave out {', '.join(given)}".replace("--files", "--data"))


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a JSONL file (.xz, .gz)."""
    from scoring.recording import read_lines

    return (line for _, line in read_lines(path))


def _topics(settings: Settings) -> list[tuple[str, Iterator[bytes]]]:
    """The names and values of the topics of vectors and of human decisions."""
    from streams.kafka.reading import places_of, read_values

    places = places_of(settings, "vectors", "human_decisions").values()
    return [(topic, read_values(settings, topic, partitions)) for topic, partitions in places]


def _join(window: "Window", vectors: tuple[str, Iterator[bytes]], decisions: tuple[str, Iterator[bytes]]) -> "Joined":
    """The dataset of vectors and decisions, named and read as they come; what was read and left out goes to stderr."""
    from scoring.data import join_decisions

    joined = join_decisions(_counted(*vectors), _counted(*decisions), window=window)
    tell_left_out(joined)
    return joined


def tell_left_out(joined: "Joined") -> None:
    """How many records were left out of the join, and why, on stderr."""
    for reason, count in sorted(joined.left_out.items()):
        click.echo(f"left out: {reason}: {count}", err=True)


def _counted(name: str, values: Iterable[bytes]) -> Iterator[bytes]:
    count = 0
    for count, value in enumerate(values, start=1):  # noqa: B007 - told at the end
        yield value
    click.echo(f"read: {count} records of {name}", err=True)


@contextmanager
def training_extra() -> Iterator[None]:
    """Around imports of what the `train` extra brings: where it is missing, says so."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _TRAINING_LIBRARIES:
            raise
        raise click.ClickException(
            f"{error.name} is missing: training and evaluation need `pip install 'secondlook[train]'`."
        ) from error
