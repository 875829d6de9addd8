"""A release's staging folder: built from the tree, or put together again from what the bucket kept of it."""

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.deploy import console
from infra.deploy.bucket import Bucket
from infra.deploy.given import Given
from infra.deploy.state import Release
from infra.package.build import Built, where_chalice_looks
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


def keep(bucket: Bucket, release: Release, built: Built, given: Given, page: Path | None) -> bool:
    """Put all that a rollback needs into the bucket. Says whether anything was missing there."""
    uploaded = bucket.put_file(release.key(PACKAGE), built.zip)
    base = json.loads((built.stage / ".chalice" / "config.json").read_text())
    if page is not None and not bucket.has(release.key(CONSOLE)):
        packed = built.zip.with_name(CONSOLE)
        console.pack(page, packed)
        uploaded |= bucket.put_file(release.key(CONSOLE), packed)
    said = {"base": base, "given": given.said, "architecture": str(built.architecture)}
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
    return Staged(folder, said["base"], Given.of(bucket.cloud.stage, said["given"]), page)


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
