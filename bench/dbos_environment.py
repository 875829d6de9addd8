"""DBOS's own environment, made when it is first needed: its pins are not the product's."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from local.processes import ROOT

_PLACE: Final = ROOT / ".local" / "bench" / "dbos"
_PINNED: Final = ROOT / "bench" / "reference" / "dbos-requirements.txt"


def interpreter() -> str:
    """The path of a Python that imports `dbos`; what is done for it is told on standard error.

    Raises subprocess.CalledProcessError where it cannot be installed.
    """
    python = _PLACE / "bin" / "python"
    stamp = _PLACE / "installed.txt"
    wanted = f"{sys.version}\n{_PINNED.read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    _tell(f"Making {_PLACE.relative_to(ROOT)} with what {_PINNED.relative_to(ROOT)} says.")
    venv.create(_PLACE, clear=True, with_pip=True)
    _run([str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r", str(_PINNED)])
    _run([str(python), "-c", "import dbos, psycopg"])
    stamp.write_text(wanted)
    return str(python)


def version() -> str:
    """DBOS's, as pinned."""
    return next(
        line.partition("==")[2].strip()
        for line in _PINNED.read_text().splitlines()
        if line.startswith("dbos==")
    )


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr, stderr=sys.stderr, check=True)


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
