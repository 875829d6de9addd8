"""From the tree to a staging folder and its zip.

The staging folder is a Chalice project of its own: `chalice deploy` and `chalice package`, started in it, take the zip
that lies under `.chalice/deployments`, since its name is the one Chalice would give; should Chalice make its own after
all, it holds the same files. Chalice adds its `chalice/app.py` and `chalice/__init__.py` to whatever it zips, so
`vendor/` has only their bytecode.
"""

import hashlib
import importlib.metadata
import inspect
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import chalice
import chalice.app
from chalice.deploy.packager import DependencyBuilder, LambdaDeploymentPackager
from chalice.utils import UI, OSUtils

from infra.package import archive
from infra.package.archive import Sizes
from infra.package.left_out import LIST, LeftOut
from infra.package.target import RUNTIME, TASK_ROOT, Architecture, Limits, PackageError
from infra.package.trees import compile_tree, must_be_python, trees
from infra.package.wheels import Wheel, fetch, pins

ROOT: Final = Path(__file__).resolve().parent.parent.parent
LOCK: Final = "requirements-lambda.txt"
ZIP: Final = "package.zip"
REPORT: Final = "package.json"

_CHALICE_FILES: Final = ("__init__.py", "app.py")  # what Chalice adds of itself
_ONLY_HERE: Final = frozenset({"__pycache__", "script.py.mako"})  # the latter is for writing revisions

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """What a build leaves."""

    architecture: Architecture
    stage: Path  # the folder in which `chalice deploy` is started
    zip: Path
    sha256: str
    sizes: Sizes
    wheels: Mapping[str, str]  # name to version


def build(
    architecture: Architecture,
    out: Path,
    *,
    tree: Path = ROOT,
    lock: Path | None = None,
    left_out: Path = LIST,
    limits: Limits | None = None,
    tell: Tell = print,
) -> Built:
    """Make the package under `out`/<architecture>, replacing what is there. Wheels are kept under `tree`/.local.

    Args:
        architecture: of the functions; wheels for it are fetched wherever this runs.
        out: made when missing.
        tree: the repository.
        lock: what to bundle; the tree's own without.
        left_out: the reviewed list.
        limits: over these nothing is left behind but the message.
        tell: gets a line for each step.

    Raises:
        PackageError: a wheel is missing, the list is no longer true, or the package is too big.
    """
    must_be_python()
    lock = lock or tree / LOCK
    _same_chalice(tree / "requirements.txt")
    kept = tree / ".local"
    tell(f"Wheels     {len(pins(lock))} of {lock.name} for {RUNTIME} on {architecture}")
    wheels = fetch(lock, architecture, kept / "wheels")
    rules = LeftOut.read(left_out)
    tell(f"Trees      unpacked and compiled, without what {left_out.name} leaves out")
    folders = trees(wheels, rules, kept / "trees")
    rules.check(wheel.pin.name for wheel in wheels)
    place = out / architecture
    shutil.rmtree(place, ignore_errors=True)
    stage = place / "stage"
    tell(f"Stage      {stage}")
    _stage(tree, stage, folders, architecture)
    tell(f"Zip        {place / ZIP}")
    made = _zip(stage, place, architecture, limits or Limits(), wheels)
    tell(
        f"           {made.sizes.zip_mb:.1f} MB, {made.sizes.unzipped_mb:.1f} unzipped, {made.sizes.files} files"
    )
    tell(f"           {made.sizes.told()}")
    tell(f"           sha256 {made.sha256}")
    return made


def files_of(stage: Path) -> dict[str, Path]:
    """Names in the zip to files, as Chalice lays out a project with a vendor folder and no requirements."""
    own = {f"chalice/{path.name}": path for path in _chalice_files()}
    code = {f"chalicelib/{name}": path for name, path in _below(stage / "chalicelib")}
    return {"app.py": stage / "app.py", **own, **code, **dict(_below(stage / "vendor"))}


def _same_chalice(requirements: Path) -> None:
    """The bytecode of Chalice's runtime part is made from the installed one, so that must be the pinned one."""
    installed = f"chalice=={importlib.metadata.version('chalice')}"
    if installed not in requirements.read_text().split():
        raise PackageError(f"{installed} is installed, {requirements.name} pins another: make install")


def _stage(tree: Path, stage: Path, folders: list[Path], architecture: Architecture) -> None:
    vendor = stage / "vendor"
    for folder in folders:
        _copy(folder, vendor)
    _copy(tree / "migrations", vendor / "migrations", skip=_ONLY_HERE)
    _copy(tree / "chalicelib", stage / "chalicelib", skip=_ONLY_HERE)
    compile_tree(vendor / "migrations", at=f"{TASK_ROOT}/migrations")
    compile_tree(stage / "chalicelib", at=f"{TASK_ROOT}/chalicelib")
    shutil.copy(tree / "app.py", stage / "app.py")
    _bytecode_of_the_rest(stage, vendor)
    (stage / "requirements.txt").write_text("")  # all of it is in vendor/
    for path in (tree / ".chalice").glob("*.json"):
        (stage / ".chalice").mkdir(exist_ok=True)
        shutil.copy(path, stage / ".chalice")
    config = stage / ".chalice" / "config.json"
    told = {**json.loads(config.read_text()), "lambda_architecture": str(architecture)}
    config.write_text(json.dumps(told, indent=2) + "\n")


def _bytecode_of_the_rest(stage: Path, vendor: Path) -> None:
    """Of app.py and of Chalice's own part, whose sources come into the zip beside vendor/, not through it."""
    sources = stage / "sources"
    (sources / "chalice").mkdir(parents=True)
    shutil.copy(stage / "app.py", sources)
    for path in _chalice_files():
        shutil.copy(path, sources / "chalice")
    compile_tree(sources)
    for folder in ("", "chalice"):
        _copy(sources / folder / "__pycache__", vendor / folder / "__pycache__")
    shutil.rmtree(sources)


def _chalice_files() -> list[Path]:
    folder = Path(inspect.getfile(chalice)).parent
    return [folder / name for name in _CHALICE_FILES]


def _zip(stage: Path, place: Path, architecture: Architecture, limits: Limits, wheels: list[Wheel]) -> Built:
    path = place / ZIP
    archive.write(path, files_of(stage))
    sizes = Sizes.of(path)
    try:
        sizes.check(limits)
    except PackageError:
        shutil.rmtree(place)
        raise
    for_chalice = _where_chalice_looks(stage, architecture)
    for_chalice.parent.mkdir(parents=True)
    shutil.copy(path, for_chalice)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    made = Built(
        architecture, stage, path, sha256, sizes, {wheel.pin.name: wheel.pin.version for wheel in wheels}
    )
    report = {
        "runtime": RUNTIME,
        "architecture": architecture,
        "sha256": sha256,
        **asdict(sizes),
        "wheels": made.wheels,
        "chalice": importlib.metadata.version("chalice"),
    }
    (place / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    return made


def _where_chalice_looks(stage: Path, architecture: Architecture) -> Path:
    """The name hangs on the contents of app.py, chalicelib/, vendor/ and of Chalice's own part."""
    utilities = OSUtils()
    packager = LambdaDeploymentPackager(
        utilities, DependencyBuilder(utilities, architecture=architecture.value), UI(), architecture.value
    )
    return Path(packager.deployment_package_filename(str(stage), RUNTIME))


def _copy(source: Path, target: Path, *, skip: frozenset[str] = frozenset()) -> None:
    """All files below, into what is there. Two wheels with the same file would be one wheel too many."""
    for name, path in _below(source, skip=skip):
        place = target / name
        if place.exists():
            raise PackageError(f"Two parts of the package bring {name}.")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


def _below(folder: Path, *, skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not skip.intersection(relative.parts):
            yield relative.as_posix(), path
