"""`secondlook features FILE`: the predictors of a saved response, to check one's own gateway with."""

import math
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from featurizers import PRESETS, PROVIDERS, SCHEMA, Explanation, ResponseError, SpecError, explain, fitting, load_spec
from streams.settings import PREFIX

_STYLES = {"outcome": "bold reverse green", "confidence": "bold cyan", "rationale": "dim", "": ""}
_OUTCOMES = {0: "no violation", 1: "violation", 2: "evidence deficiency", 3: "policy gap"}
_PROBLEMS = {
    "empty_answer": "the answer has no text",
    "refusal": "the provider or the LLM declined to answer",
    "answer_truncated": "the answer was cut off before a verdict that its rest could not have taken back",
    "outcome_missing": "no label stands where the spec looks for it, or what stands there is not the answer's own",
    "outcome_unknown": "what stands in the label's place is none of the spec's labels",
    "outcome_ambiguous": "the answer says several verdicts, or takes back its own",
}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--spec",
    default="lpp",
    show_default=True,
    envvar=f"{PREFIX}OUTCOME_SPEC",
    show_envvar=True,
    help=f"{', '.join(PRESETS)}, the path of a TOML file, or auto: the presets that fit.",
)
@click.option("--provider", type=click.Choice(PROVIDERS), help="The body's format; detected by default.")
@click.option("--json", "as_json", is_flag=True, help="Print outcome, problem, spec, provider and values as JSON.")
def features(file: Path, spec: str, provider: str | None, as_json: bool) -> None:
    """Print the predictors of one LLM response saved in FILE.

    FILE holds a response record or a provider's bare response body, as JSON.
    """
    value = read_saved(file)
    try:
        fits = fitting(value, provider) if spec == "auto" else [explain(value, load_spec(spec), provider)]
    except ResponseError as error:
        raise click.ClickException(f"{file}: {error}") from None
    except SpecError as error:
        raise click.ClickException(str(error)) from None
    if not fits:
        raise click.ClickException(
            f"{file}: no preset finds an outcome in it; --spec NAME says why one does not: {', '.join(PRESETS)}"
        )
    names = [one.spec.name for one in fits]
    if as_json:
        more = {"fits": names} if spec == "auto" else {}
        click.echo(orjson.dumps(as_document(fits[0]) | more).decode())
        return
    if spec == "auto":
        click.echo(f"presets that find an outcome: {', '.join(names)}; shown is {names[0]}")
    render(fits[0], Console())


def read_saved(file: Path) -> bytes:
    """The bytes of a saved response."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}") from None


def as_document(explanation: Explanation) -> dict[str, Any]:
    """What is said of a response, for machines."""
    return {
        "schema": SCHEMA.id,
        "provider": explanation.response.provider,
        "spec": explanation.spec.name,
        "outcome": None if explanation.outcome < 0 else explanation.outcome,
        "problem": explanation.problem,
        "category": explanation.category,
        "tokens_unread": explanation.response.tokens_unread,
        "values": explanation.values,
        "missing": explanation.missing,
    }


def render(explanation: Explanation, console: Console, *, words: bool = True) -> None:
    """Print what is said of a response; without its `words`, nothing of the answer's own text but the verdict."""
    response = explanation.response
    llm = response.llm or "an unnamed model"
    console.print(Text(f"{response.provider} answer of {llm}, read by spec {explanation.spec.name}"))
    console.print(_verdict(explanation))
    if explanation.tokens:
        if words:
            console.print(_tokens(explanation))
    elif response.tokens_unread:
        console.print("This response has log-probabilities, in a shape that is not known: none were read.")
    else:
        console.print("No log-probabilities in this response: only the predictors that do without are there.")
    alternatives = _alternatives(explanation) if words else None
    if alternatives is not None:
        console.print(alternatives)
    console.print(_values(explanation))


def _verdict(explanation: Explanation) -> Text:
    if explanation.outcome < 0:
        problem = explanation.problem or ""
        return Text(f"no outcome: {problem}: {_PROBLEMS[problem]}", style="bold red")
    meaning = _OUTCOMES[explanation.outcome]
    category = "" if explanation.category is None else f", category {explanation.category!r}"
    said = f", said as {explanation.label!r}" if explanation.label else ""
    return Text(f"outcome {explanation.outcome} ({meaning}){said}{category}", style="bold")


def _tokens(explanation: Explanation) -> Text:
    line = Text("tokens: ")
    for token in explanation.tokens:
        shown = repr(token.text)[1:-1]
        line.append(f"[{shown}]" if token.part == "outcome" else shown, style=_STYLES[token.part])
        line.append("|", style="dim")
    return line


def _alternatives(explanation: Explanation) -> Table | None:
    marked = [token for token in explanation.tokens if token.part == "outcome"]
    if not marked:
        return None
    table = Table(title="at the outcome token", title_justify="left", box=None)
    table.add_column("alternative")
    table.add_column("probability", justify="right")
    for token in marked:
        for text, logprob in token.alternatives:
            table.add_row(Text(repr(text)), "missing" if logprob is None else f"{math.exp(logprob):.6f}")
    return table


def _values(explanation: Explanation) -> Table:
    table = Table(title=f"schema {SCHEMA.id}", title_justify="left", box=None)
    table.add_column("family", no_wrap=True)
    table.add_column("predictor", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    previous = ""
    for feature in SCHEMA.features:
        value = explanation.values[feature.name]
        family = "" if feature.family == previous else feature.family
        previous = feature.family
        table.add_row(family, feature.name, "missing" if value is None else f"{value:.6g}", feature.unit)
    return table
