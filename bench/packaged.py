"""Packages to start functions from: ours, the same code as Chalice packages it alone, and the least there can be."""

import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Final

from infra.package.build import LOCK, build
from infra.package.target import Architecture
from infra.package.trees import compile_tree
from infra.package.wheels import fetch
from local.processes import ROOT

HERE: Final = (
    Architecture.ARM64 if platform.machine() in {"aarch64", "arm64"} else Architecture.X86_64
)  # what this machine can start

_KEPT: Final = ROOT / ".local" / "bench"
_FLOOR: Final = ROOT / "bench" / "reference" / "first_select.py"
_OURS_ALONE: Final = frozenset({"app.py", "chalicelib", "migrations"})


def ours() -> Path:
    """The zip that `make package` makes."""
    return build(HERE, _KEPT / "package", tell=_to_stderr).zip


def plain() -> Path:
    """The zip that `chalice package` makes of the same code and requirements.txt, with nothing prepared for it.

    Kept while neither changes: Chalice asks the registry for each library.
    """
    project, out = _KEPT / "plain", _KEPT / "plain.out"
    project.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(project / "chalicelib", ignore_errors=True)
    shutil.copytree(ROOT / "chalicelib", project / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "requirements.txt"):
        shutil.copy(ROOT / name, project)
    (project / ".chalice").mkdir(exist_ok=True)
    shutil.copy(ROOT / ".chalice" / "config.json", project / ".chalice")
    (project / ".chalice" / "policy-dev.json").write_text('{"Version": "2012-10-17", "Statement": []}')
    done = subprocess.run(
        [str(Path(sys.executable).with_name("chalice")), "package", "--stage", "dev", str(out)],
        cwd=project,
        env={"PATH": "/usr/bin:/bin", "AWS_DEFAULT_REGION": "eu-central-1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or "Could not install" in done.stdout:
        raise AssertionError(f"Chalice made no package: {done.stdout}{done.stderr}")
    return out / "deployment.zip"


def floor(package: Path, folder: Path) -> Path:
    """Our libraries, as they lie in our unpacked package, under an app that imports them and selects once."""
    link(package, folder, without=_OURS_ALONE)
    shutil.copy(_FLOOR, folder / "app.py")
    compile_tree(folder)
    return folder


def link(package: Path, folder: Path, *, without: Collection[str]) -> None:
    """The same package without some of its top-level parts, at next to no cost."""
    folder.mkdir()
    for path in package.iterdir():
        if path.name in {"__pycache__", *without}:
            continue
        if path.is_dir():
            (folder / path.name).symlink_to(path)
        else:
            shutil.copy(path, folder)
    bytecode = folder / "__pycache__"
    shutil.copytree(package / "__pycache__", bytecode)
    bytecode.chmod(0o755)


def runtimes_own(folder: Path, names: Collection[str]) -> None:
    """Whole libraries, as an installer would lay them down, without bytecode."""
    for wheel in fetch(ROOT / LOCK, HERE, ROOT / ".local" / "wheels"):
        if wheel.pin.name in names:
            with zipfile.ZipFile(wheel.path) as archive:
                archive.extractall(folder)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
