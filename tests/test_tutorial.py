"""docs/tutorial.md, typed into one terminal from its beginning to its end."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.pages import ROOT, blocks

PAGE = "docs/tutorial.md"


def test_the_tutorial_ends_in_decisions_of_an_own_model(tmp_path: Path) -> None:
    """Every block in its order, but for the clone and the installation; any command that fails ends it."""
    script = [block.body for block in blocks(PAGE) if block.language == "sh"]
    assert "make install" in script[0]
    bin_folder = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SECONDLOOK_")}
    environment |= {
        "PATH": f"{bin_folder}:{environment['PATH']}",
        "SHELLOPTS": "errexit:pipefail",  # in the shell with the broker, too
        "SECONDLOOK_WEB_PORT": "0",  # another test may have it
    }
    said = tmp_path / "said.txt"
    with said.open("wb") as output:
        shell = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=tmp_path,
            env=environment,
            start_new_session=True,
        )
        try:
            shell.communicate("\n".join(script[1:]).encode(), timeout=240)
        finally:
            with suppress(ProcessLookupError):  # where a command failed, the worker is left
                os.killpg(shell.pid, signal.SIGKILL)
    text = said.read_text()
    assert 0 == shell.returncode, text + (tmp_path / "worker.log").read_text()[-3000:]
    assert "outcome 1 (violation), said as 'remove', category 'remove'" in text
    assert 2 == len(re.findall(r"^decided +(\d+) of \1$", text, re.MULTILINE)), text
    assert re.search(r"^judged +\d+, with the file's labels$", text, re.MULTILINE)
    of_all, automated = (float(share) for share in re.findall(r"wrong +([\d.]+)% of", text)[:2])
    assert automated < of_all / 2
    assert ROOT not in tmp_path.parents
