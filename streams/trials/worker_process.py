"""Worker processes started by the demo, the stress test and the tests."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from streams.errors import StreamError
from streams.settings import KAFKA_PREFIX, is_secret

_LAST_LINES = 5


class WorkerProcess:
    """A `secondlook worker` in a process of its own, its log in a file. Settings are given by name; None is left out.

    `program` is what Python runs instead of `-m streams`.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        kafka: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "streams"),
    ) -> None:
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if value is not None]
        # Arguments are for every user of the machine to see; the environment is not.
        secrets = {name: value for name, value in (kafka or {}).items() if is_secret(name)}
        flags += [
            word for name, value in (kafka or {}).items() if name not in secrets for word in ("-X", f"{name}={value}")
        ]
        with tempfile.NamedTemporaryFile(prefix="secondlook-worker-", suffix=".log", delete=False) as log:
            self.log = Path(log.name)
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, *program, "worker", *flags],
                env=_environment(secrets),
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for the program that started us, which ends its workers in order.
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.exit_code is None:
            self.kill()
        self.log.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait_for(self, message: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until a line of its log has this message, and give the line. Raises StreamError when it ends or takes too long."""
        deadline = time.monotonic() + timeout
        while (found := next((line for line in self.lines() if line.get("message") == message), None)) is None:
            if self.exit_code is not None:
                raise StreamError(f"the worker ended with exit code {self.exit_code}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise StreamError(f"the worker did not come to {message!r} in {timeout:g} s: {self.last_words()}")
            time.sleep(0.05)
        return found

    def lines(self) -> list[dict[str, Any]]:
        """Its log so far; a line that is not JSON stands under `message`."""
        lines = []
        for line in self.log.read_bytes().splitlines():
            try:
                lines.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                lines.append({"message": line.decode(errors="replace")})
        return lines

    def last_words(self) -> str:
        """The last lines of its log, for an error message."""
        return " | ".join(str(line.get("message")) for line in self.lines()[-_LAST_LINES:]) or "it logged nothing"

    def terminate(self, timeout: float = 40.0) -> int:
        """SIGTERM, then its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL, as a crash would end it."""
        self._process.kill()
        self._process.wait()


def _environment(secrets: Mapping[str, str]) -> dict[str, str]:
    """Our own environment with these options of the Kafka client in it, in whatever way it had them."""
    variables = {KAFKA_PREFIX + name.upper().replace(".", "_"): value for name, value in secrets.items()}
    own = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in variables}
    return {**own, **variables}
