"""The command line. Each command validates, does one thing through the package, and says in one line what went wrong."""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from featurizers import SecondlookError, readers
from streams.settings import (
    KAFKA_PREFIX,
    SETTINGS,
    Settings,
    default_text,
    flag,
    is_secret,
    load_settings,
    settings_markdown,
)

_F = TypeVar("_F", bound=Callable[..., Any])

_EXIT_FAILURE = 1


_COMMANDS = {
    "broker": "streams.cli.broker",
    "console": "streams.cli.console",
    "control": "streams.cli.control",
    "dead-letters": "streams.cli.dead_letters",
    "demo": "streams.cli.demo",
    "doctor": "streams.cli.doctor",
    "evaluate": "streams.cli.scoring",
    "explain": "streams.cli.explain",
    "features": "streams.cli.features",
    "models": "streams.cli.models",
    "replay": "streams.cli.replay",
    "sample": "streams.cli.sample",
    "stress": "streams.cli.stress",
    "tap": "streams.cli.tap",
    "top": "streams.cli.top",
    "train": "streams.cli.scoring",
}
"""Commands that are imported only when used: a worker needs no training library, and `control` no model."""


class _Group(click.Group):
    """Finds commands in their modules; errors of the project, its files and its client are one line on stderr, exit code 1 or their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            command: click.Command = getattr(import_module(_COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SecondlookError as problem:
            _fail(str(problem), getattr(problem, "exit_code", _EXIT_FAILURE))
        except OSError as problem:
            if problem.filename is None:  # a closed pipe, which click knows
                raise
            _fail(f"{problem.filename}: {problem.strerror}")
        except Exception as problem:
            client = sys.modules.get("confluent_kafka")  # loaded, if it is the client's error
            if client is None or not isinstance(problem, client.KafkaException):
                raise
            from streams.kafka.troubles import told

            _fail(
                f"{told(problem.args[0]).strip()}; look at what is given to the Kafka client: -X, {KAFKA_PREFIX}..., [kafka] "
                "in the file"
            )


def _fail(text: str, code: int = _EXIT_FAILURE) -> NoReturn:
    click.echo(f"secondlook: {text}", err=True)
    sys.exit(code)


class ResultFile(click.Path):
    """A file that is written at the end: that this will fail is said before the work begins."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.Path."""
        file = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not (file.parent.is_dir() and os.access(file.parent, os.W_OK)):
            self.fail(
                f"{str(file)!r} cannot be written: {str(file.parent)!r} is no folder that may be written to", param, ctx
            )
        return file


def setting_options(*names: str, **defaults: str) -> Callable[[_F], _F]:
    """Options for the named settings (all of them when none is named), plus `--config` and `-X`.

    `defaults` says what a command does without a setting, where that is not the setting's own default.
    """

    def decorate(command: _F) -> _F:
        for setting in reversed(SETTINGS):
            if names and setting.name not in names:
                continue
            about = setting.metadata
            unit = f" [{about['unit']}]" if about["unit"] else ""
            text = defaults.get(setting.name, default_text(setting))
            default = f" Default: {text}." if text else ""
            command = click.option(flag(setting), setting.name, metavar="VALUE", help=about["help"] + unit + default)(
                command
            )
        command = click.option(
            "-X",
            "kafka",
            multiple=True,
            metavar="NAME=VALUE",
            help="Kafka client option, passed through to librdkafka.",
        )(command)
        return click.option(
            "--config", type=click.Path(path_type=Path), help="TOML file of settings; flags win over it."
        )(command)

    return decorate


def settings_from(options: dict[str, Any]) -> Settings:
    """The settings from a command's options; takes them out of `options`."""
    file, pairs = options.pop("config"), options.pop("kafka")
    kafka = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise click.BadParameter(f"{name!r} is not NAME=VALUE", param_hint="-X")
        if is_secret(name) and not name.endswith((".file", ".url")):
            variable = KAFKA_PREFIX + name.upper().replace(".", "_")
            raise click.BadParameter(
                f"{name} is a secret, and arguments are for every user of this machine to see: -X {name}.file=FILE, {variable}_FILE "
                f"(or {variable}), or [kafka] in the file of --config",
                param_hint="-X",
            )
        kafka[name] = value
    names = {setting.name for setting in SETTINGS} & set(options)
    return load_settings({name: options.pop(name) for name in names}, file=file, kafka_flags=kafka)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="secondlook", message=f"secondlook, version %(version)s, {readers.reader}")
@click.pass_context
def main(context: click.Context) -> None:
    """Decide, in a Kafka stream, which verdicts of an LLM moderator can be acted on and which need a second look."""
    if context.invoked_subcommand != "worker":
        # A command that fails says why in one line; what the client says on the way there is dozens, and less.
        logging.getLogger("streams.kafka.client").addHandler(logging.NullHandler())


@main.command()
@setting_options()
def worker(**options: Any) -> None:
    """Run a worker. More workers of one group share the partitions."""
    from streams.worker.run import run_worker

    run_worker(settings_from(options))


@main.command("settings")
def show_settings() -> None:
    """List every setting, in Markdown. With its environment variable, default and meaning."""
    click.echo(settings_markdown())


@main.group()
def topics() -> None:
    """Create the topics, or check the ones that exist."""


@topics.command("create")
@setting_options("broker", "topic_prefix")
@click.option(
    "--partitions",
    type=click.IntRange(1),
    help="Of requests, responses and the pending store's changelog, where they are created.  [default: 4]",
)
@click.option("--replication-factor", type=int, default=-1, show_default="the broker's own")
def create(partitions: int | None, replication_factor: int, **options: Any) -> None:
    """Create the topics that are missing. Those that exist are checked, and left as they are."""
    from streams.kafka.clients import base_config
    from streams.kafka.topics import CO_PARTITIONED, create_topics, existing_partitions, load_topics, other_than_wanted

    settings = settings_from(options)
    wanted = load_topics(settings.topic_prefix)
    if partitions is not None:
        wanted.update({key: replace(wanted[key], partitions=partitions) for key in CO_PARTITIONED})
    conf = base_config(settings)
    created = create_topics(conf, wanted, replication_factor=replication_factor)
    counts = {key: len(numbers) for key, numbers in existing_partitions(conf, wanted).items()}
    for key, topic in wanted.items():
        what, size = "created" if topic.name in created else "exists ", counts[key]
        click.echo(f"{what}  {topic.name}  {size} partition{'' if size == 1 else 's'}  {topic.purpose}")
    if partitions is not None:
        asked = {key: wanted[key] for key in CO_PARTITIONED}
        for text in other_than_wanted(asked, counts, settings.broker):
            click.echo(f"warning: {text}", err=True)


@topics.command("check")
@setting_options("broker", "topic_prefix", "max_record_bytes")
def check(**options: Any) -> None:
    """Check the topics. Whether they exist, fit together and are kept as they must be."""
    from streams.errors import TopicError
    from streams.kafka.clients import base_config
    from streams.kafka.topics import check_configs, load_topics

    settings = settings_from(options)
    wanted = load_topics(settings.topic_prefix)
    found = check_configs(base_config(settings), wanted, max_record_bytes=settings.max_record_bytes)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    if found.errors:
        raise TopicError("\n".join(found.errors))
    click.echo(f"{len(wanted)} topics on {settings.broker} are as they must be")
