"""What app.py does about garbage while it imports."""

import subprocess
import sys

from local.processes import ROOT

PROGRAM = """
import gc, sys
import app
ours = [name for name in sys.modules if name.startswith("chalicelib.")]
print(ours[0], gc.isenabled(), gc.get_freeze_count() > 50_000)
"""


def test_nobody_looks_for_garbage_before_all_is_imported_and_afterwards_somebody_does() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["chalicelib.cold_start", "True", "True"]
