"""Known vulnerabilities of what requirements.lock installs, by pip-audit and the Python advisory database.

Ends with 0 (none is known), 1 (some are: they are listed), or 3 (the database could not be asked, of all or of some: nothing is known of these).
`make audit` runs it in an environment of its own.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_LOCK = Path(__file__).parents[1] / "requirements.lock"
_CLEAN, _VULNERABLE, _UNKNOWN = 0, 1, 3
_SHOWN = 5


def verdict(report: dict[str, Any] | None) -> tuple[int, list[str]]:
    """The exit code for what pip-audit reports (None: nothing), and what to say. It counts what it could not ask about as no fault."""
    if report is None:
        return _UNKNOWN, [
            "the advisory database could not be asked (see above): nothing is known, neither good nor bad"
        ]
    packages = report["dependencies"]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    known = [
        f"{one['name']} {one['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version'}"
        for one in packages
        for found in one.get("vulns", [])
    ]
    lines = [*known, f"{len(packages) - len(skipped)} packages looked up, {len(known)} vulnerabilities known"]
    if skipped:
        named = ", ".join(skipped[:_SHOWN]) + ("" if len(skipped) <= _SHOWN else ", ...")
        lines.append(
            f"the advisory database said nothing of {len(skipped)} packages ({named}): of these nothing is known"
        )
    return _VULNERABLE if known else _UNKNOWN if skipped or not packages else _CLEAN, lines


def main() -> int:
    """Ask, say what is known, and return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--requirement", str(_LOCK)]
        command += ["--progress-spinner", "off", "--format", "json", "--output", str(found)]
        subprocess.run(command, check=False)
        text = found.read_text(encoding="utf-8") if found.exists() else ""
    code, lines = verdict(json.loads(text) if text else None)
    print("\n".join(f"audit: {line}" for line in lines), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
