"""docs/tutorial.md, typed into one terminal from its beginning to its end."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.pages import ROOT, blocks

PAGE = "docs/tutorial.md"


def test_the_tutorial_ends_in_decisions_of_an_own_model(tmp_path: Path) -> None:
    """Every block in its order, but for the clone and the installation; any command that fails ends it."""
    script = [block.body for block in blocks(PAGE)]
    assert "make install" in script[0]
    bin_folder = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SECONDLOOK_")}
    environment |= {
        "PATH": f"{bin_folder}:{environment['PATH']}",
        "SHELLOPTS": "errexit:pipefail",  # in the shell with the broker, too
        "SECONDLOOK_WEB_PORT": "0",  # another test may have it
    }
    typed = subprocess.run(
        ["bash"],
        input="\n".join(script[1:]),
        cwd=tmp_path,
        env=environment,
        text=True,
        capture_output=True,
        timeout=200,
        check=False,
    )
    said = typed.stdout + typed.stderr
    assert 0 == typed.returncode, said + (tmp_path / "worker.log").read_text()[-3000:]
    assert "outcome 1 (violation), said as 'remove', category 'remove'" in said
    assert 2 == len(re.findall(r"^decided +(\d+) of \1$", said, re.MULTILINE)), said
    assert re.search(r"^judged +\d+, with the file's labels$", said, re.MULTILINE)
    of_all, automated = (float(share) for share in re.findall(r"wrong +([\d.]+)% of", said)[:2])
    assert automated < of_all / 2
    assert ROOT not in tmp_path.parents
