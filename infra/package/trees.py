"""A wheel as it lies in the package: unpacked, without what is left out, with bytecode. Kept for the next build."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import MAGIC_NUMBER
from pathlib import Path, PurePosixPath
from typing import Final

from infra.package.left_out import LeftOut
from infra.package.target import PYTHON, RUNTIME, TASK_ROOT, PackageError
from infra.package.wheels import Wheel

_SITE: Final = frozenset({"purelib", "platlib"})  # what a wheel's .data folder may hold for site-packages
_RUNNABLE: Final = 0o755
_READABLE: Final = 0o644
_LAYOUT: Final = "1"  # raise it when a tree of the same wheel comes out otherwise than before


def must_be_python() -> None:
    """Raises PackageError for another interpreter than the deployed one: its bytecode would be ignored."""
    if sys.version_info[:2] != PYTHON:
        here = ".".join(map(str, sys.version_info[:2]))
        raise PackageError(
            f"The functions run on {RUNTIME}, and only that can compile for them; this is Python {here}. "
            "Make an environment with it: make install PYTHON=python3.13"
        )


def trees(wheels: Iterable[Wheel], left_out: LeftOut, cache: Path) -> list[Path]:
    """A folder for each wheel. Those whose wheel and rules have not changed are there already."""
    made = [(wheel, _chosen(wheel, left_out)) for wheel in wheels]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda one: _tree(one[0], one[1], left_out, cache), made))


def compile_tree(folder: Path, *, at: str = TASK_ROOT) -> None:
    """Bytecode beside each source, never checked against it at run time: nothing there can change.

    The interpreter gets the same bare start each time, since what is in memory shows in what it writes.

    Args:
        folder: all of it.
        at: where the folder will be, for tracebacks.

    Raises:
        PackageError: a file is not Python.
    """
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-S",
                "-s",
                "-m",
                "compileall",
                "-q",
                "-f",
                "--invalidation-mode",
                "unchecked-hash",
            ),
            *("-s", str(folder), "-p", at, str(folder)),
        ],
        env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PackageError(f"Not all of {folder} can be compiled:\n{(done.stdout + done.stderr).strip()}")


def _chosen(wheel: Wheel, left_out: LeftOut) -> list[tuple[str, str]]:
    """The members that stay, each with its place in site-packages."""
    with zipfile.ZipFile(wheel.path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    placed = [(name, _place(name)) for name in names]
    return [(name, place) for name, place in placed if left_out.stays(wheel.pin.name, place)]


def _place(name: str) -> str:
    """Where an installer would put a member; `.data/purelib` and `.data/platlib` are site-packages themselves."""
    first, *rest = PurePosixPath(name).parts
    if ".." in rest or first in {"..", "/"}:
        raise PackageError(f"A wheel has a member outside of itself: {name}.")
    if first.endswith(".data") and rest and rest[0] in _SITE:
        return str(PurePosixPath(*rest[1:]))
    return name


def _tree(wheel: Wheel, members: list[tuple[str, str]], left_out: LeftOut, cache: Path) -> Path:
    key = "\n".join([_LAYOUT, MAGIC_NUMBER.hex(), wheel.sha256, *left_out.rules_of(wheel.pin.name)])
    folder = cache / f"{wheel.pin.name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}"
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with zipfile.ZipFile(wheel.path) as archive:
        for name, place in members:
            path = unfinished / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
            path.chmod(_RUNNABLE if path.suffix == ".so" else _READABLE)
    compile_tree(unfinished)
    try:
        unfinished.rename(folder)
    except OSError:  # another build was quicker
        shutil.rmtree(unfinished)
    return folder
