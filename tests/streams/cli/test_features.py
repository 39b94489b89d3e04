"""`secondlook features FILE`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from featurizers import SCHEMA
from streams.cli.features import features


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    def token(text: str, *alternatives: tuple[str, float]) -> dict[str, object]:
        tops = [{"token": other, "logprob": logprob} for other, logprob in alternatives]
        return {"token": text, "logprob": -0.25, "top_logprobs": tops}

    tokens = [token('{"outcome": '), token("1", ("1", -0.25), ("0", -2.0), ("9", -9999.0)), token("}")]
    path = tmp_path / "response.json"
    choice = {"message": {"content": '{"outcome": 1}'}, "logprobs": {"content": tokens}}
    path.write_text(json.dumps({"model": "[bold]m", "choices": [choice]}))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(features, [str(argument) for argument in arguments])


def test_table(saved: Path) -> None:
    """The table marks the outcome token and names every predictor."""
    result = run(saved)
    assert 0 == result.exit_code
    assert "[1]" in result.output
    assert "outcome 1 (violation)" in result.output
    assert "[bold]m" in result.output
    assert all(name in result.output for name in SCHEMA.names)


def test_json(saved: Path) -> None:
    """The JSON has the schema's id and every predictor by name, missing ones as null."""
    document = json.loads(run(saved, "--json").output)
    assert SCHEMA.id == document["schema"]
    assert list(SCHEMA.names) == list(document["values"])
    assert -0.25 == document["values"]["outcome_logprob"]
    assert document["values"]["stated_confidence"] is None


def test_other_spec(saved: Path) -> None:
    """Under another spec the same answer may have no outcome, and the output says why."""
    assert "no outcome: outcome_missing: no label stands" in run(saved, "--spec", "yes-no").output


def test_problems_in_words(tmp_path: Path) -> None:
    """Every problem is said in words, too."""
    answers = {
        "empty_answer": "",
        "refusal": "I'm sorry.",
        "outcome_missing": "Hm.",
        "outcome_unknown": '{"outcome": 9}',
        "outcome_ambiguous": '{"outcome": 0}{"outcome": 1}',
        "answer_truncated": '{"out',
    }
    path = tmp_path / "response.json"
    for problem, content in answers.items():
        cut = "length" if problem == "answer_truncated" else "stop"
        path.write_text(json.dumps({"choices": [{"message": {"content": content}, "finish_reason": cut}]}))
        assert f"no outcome: {problem}: " in run(path).output


@pytest.mark.parametrize(
    ("content", "arguments", "reason"),
    [
        (None, [], "cannot be read"),
        ("{", [], "not JSON"),
        ('{"id": 1}', [], "no known format"),
        ('{"choices": []}', ["--provider", "gemini"], "candidates"),
        ("{}", ["--spec", "nowhere.toml"], "no such preset"),
    ],
)
def test_unusable_input(tmp_path: Path, content: str | None, arguments: list[str], reason: str) -> None:
    """An unusable file or spec is an error of one line that says why."""
    path = tmp_path / "response.json"
    if content is not None:
        path.write_text(content)
    result = run(path, *arguments)
    assert 1 == result.exit_code
    assert reason in result.output
    assert 1 == result.output.count("\n")


def test_json_says_what_was_read(saved: Path) -> None:
    """The JSON has the outcome or the problem, the spec, the provider, and why each missing predictor is."""
    document = json.loads(run(saved, "--json").output)
    assert (1, None, "lpp", "openai-chat") == tuple(document[key] for key in ("outcome", "problem", "spec", "provider"))
    assert not document["tokens_unread"]
    assert {name for name, value in document["values"].items() if value is None} == set(document["missing"])
    document = json.loads(run(saved, "--json", "--spec", "yes-no").output)
    assert (None, "outcome_missing") == (document["outcome"], document["problem"])


def test_auto(saved: Path, tmp_path: Path) -> None:
    """`--spec auto` says which presets fit; that none does is an error."""
    assert ["lpp"] == json.loads(run(saved, "--json", "--spec", "auto").output)["fits"]
    word = tmp_path / "word.json"
    word.write_text('{"body": "Yes"}')
    assert "yes-no" in run(word, "--spec", "auto").output.splitlines()[0]
    word.write_text('{"body": "Perhaps"}')
    result = run(word, "--spec", "auto")
    assert (1, 1) == (result.exit_code, result.output.count("\n"))


def test_unread_tokens(tmp_path: Path) -> None:
    """Log-probabilities in an unknown shape are said to be there."""
    path = tmp_path / "odd.json"
    path.write_text(json.dumps({"choices": [{"message": {"content": "Yes"}, "logprobs": {"steps": [{"p": 0.5}]}}]}))
    assert json.loads(run(path, "--json", "--spec", "yes-no").output)["tokens_unread"]
    assert "not known" in run(path, "--spec", "yes-no").output


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"error": {"message": "overloaded"}}', "report of an error"),
        ('{"object": "chat.completion.chunk", "choices": [{"delta": {"content": "0"}}]}', "chunk of a stream"),
        ('{"choices": [{"delta": {"content": "0"}, "message": null}]}', "chunk of a stream"),
        ('data: {"choices": []}\n\ndata: [DONE]\n', "server-sent events"),
        ('{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": []}}}', "line of a batch"),
        ('{"request": {"request_id": "a"}, "response": {"choices": []}, "label": 1}', "a line of labelled answers"),
    ],
)
def test_what_is_no_answer(tmp_path: Path, content: str, reason: str) -> None:
    """What looks like something else than an answer is called by its name."""
    path = tmp_path / "response.json"
    path.write_text(content)
    result = run(path)
    assert 1 == result.exit_code
    assert reason in result.output
