"""A release's staging folder: built from the tree, or put together again from what the bucket kept of it."""

import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from infra.deploy import console
from infra.deploy.bucket import Bucket
from infra.deploy.given import Given
from infra.deploy.preflight import Found
from infra.deploy.state import Release
from infra.functions import Function
from infra.package.build import where_chalice_looks
from infra.package.target import Architecture

PACKAGE: Final = "package.zip"
CONSOLE: Final = "console.zip"
SAID: Final = "release.json"
_CHALICES_OWN: Final = ("chalice/__init__.py", "chalice/app.py")  # chalice adds them itself


@dataclass(frozen=True, slots=True)
class Staged:
    """What chalice is started in, and with what."""

    folder: Path
    base: Mapping[str, Any]  # config.json as the tree has it
    given: Given
    console: Path | None
    functions: Sequence[Function] = ()  # as the release's app.py says; none where it was not kept yet


def keep(bucket: Bucket, release: Release, found: Found, page: Path | None) -> bool:
    """Put all that a rollback needs into the bucket. Says whether anything was missing there."""
    built = found.built
    uploaded = bucket.put_file(release.key(PACKAGE), built.zip)
    base = json.loads((built.stage / ".chalice" / "config.json").read_text())
    if page is not None and not bucket.has(release.key(CONSOLE)):
        packed = built.zip.with_name(CONSOLE)
        console.pack(page, packed)
        uploaded |= bucket.put_file(release.key(CONSOLE), packed)
    said = {
        "base": base,
        "given": found.given.said,
        "architecture": str(built.architecture),
        "functions": [asdict(each) for each in found.functions],
    }
    return bucket.put_json(release.key(SAID), said) or uploaded


def fetch(bucket: Bucket, release: Release, scratch: Path) -> Staged:
    """As `keep` put it there. Raises DeployError when a part is gone."""
    folder, packed = scratch / "stage", scratch / PACKAGE
    shutil.rmtree(scratch, ignore_errors=True)
    bucket.get_file(release.key(PACKAGE), packed)
    bucket.get_file(release.key(SAID), scratch / SAID)
    said = json.loads((scratch / SAID).read_text())
    _lay_out(packed, folder, said["base"], Architecture(said["architecture"]))
    page = None
    if bucket.has(release.key(CONSOLE)):
        page = scratch / "console"
        bucket.get_file(release.key(CONSOLE), scratch / CONSOLE)
        console.unpack(scratch / CONSOLE, page)
    return Staged(folder, said["base"], Given.of(bucket.cloud.stage, said["given"]), page, _functions(said))


def functions_of(bucket: Bucket, release: Release) -> list[Function]:
    """What its app.py had; empty where nothing is known."""
    return _functions(bucket.get_json(release.key(SAID)) or {})


def _functions(said: Mapping[str, Any]) -> list[Function]:
    return [Function(**each) for each in said.get("functions", ())]


def _lay_out(packed: Path, folder: Path, base: Mapping[str, Any], architecture: Architecture) -> None:
    """A zip as the project that it was made from, with the zip where chalice looks for it."""
    vendor = folder / "vendor"
    with zipfile.ZipFile(packed) as archive:
        for name in archive.namelist():
            if name not in _CHALICES_OWN:
                own = name == "app.py" or name.startswith("chalicelib/")
                archive.extract(name, folder if own else vendor)
    (folder / "requirements.txt").write_text("")
    (folder / ".chalice").mkdir()
    write_config(folder, base)
    place = where_chalice_looks(folder, architecture)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(packed, place)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """It may hold secrets: nobody else on this machine reads it."""
    path = folder / ".chalice" / "config.json"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=2) + "\n")
