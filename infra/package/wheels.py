"""The wheels that the lock file names, for Lambda's platform: fetched once, checked against their hashes."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

from infra.package.target import PYTHON, Architecture, PackageError

_ABIS: Final = (f"cp{PYTHON[0]}{PYTHON[1]}", "abi3", "none")
_PINNED: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s\\;]+)")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of the lock file."""

    name: str  # canonical: lower case, with hyphens
    version: str
    hashes: frozenset[str]  # SHA-256 of each file the registry has of it

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on this disk whose hash is one of its pin's."""

    pin: Pin
    path: Path
    sha256: str


def pins(lock: Path) -> list[Pin]:
    """What the lock file asks for.

    Raises:
        PackageError: a line has no version or no hash.
    """
    found = []
    text = lock.read_text().replace("\\\n", " ")
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        pinned, hashes = _PINNED.match(line), frozenset(_HASH.findall(line))
        if pinned is None or not hashes:
            raise PackageError(
                f"{lock.name} has a line without a version or a hash: {line[:80]}. `make lock` writes it anew."
            )
        found.append(Pin(canonicalize_name(pinned["name"]), pinned["version"], hashes))
    return found


def fetch(lock: Path, architecture: Architecture, folder: Path) -> list[Wheel]:
    """A wheel for each pin, from the folder, or by pip into the folder.

    Raises:
        PackageError: names each pin that has no wheel for the platform, or pip's own words.
    """
    wanted = pins(lock)
    folder.mkdir(parents=True, exist_ok=True)
    found = _at_hand(wanted, architecture, folder)
    if len(found) < len(wanted):
        told = _pip_download(["--requirement", str(lock)], architecture, folder)
        found = _at_hand(wanted, architecture, folder)
        if told:
            missing = [pin for pin in wanted if pin.name not in found]
            raise PackageError(_why(missing, architecture, folder, told))
    return [found[pin.name] for pin in wanted]


def _at_hand(wanted: Iterable[Pin], architecture: Architecture, folder: Path) -> Mapping[str, Wheel]:
    """By name. A file whose hash is not in the lock file does not count, whatever its name says."""
    files: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.glob("*.whl")):
        name, version, _, tags = parse_wheel_filename(path.name)
        if any(_runs_there(tag, architecture) for tag in tags):
            files.setdefault((name, str(version)), []).append(path)
    found = {}
    for pin in wanted:
        for path in files.get((pin.name, pin.version), []):
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            if sha256 in pin.hashes:
                found[pin.name] = Wheel(pin, path, sha256)
    return found


def _runs_there(tag: Tag, architecture: Architecture) -> bool:
    return tag.platform in {"any", *architecture.platforms} and tag.abi in _ABIS


def _pip_download(what: Sequence[str], architecture: Architecture, folder: Path) -> str:
    """What pip complained of, or nothing."""
    major, minor = PYTHON
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(folder)),
            *("--implementation", "cp", "--python-version", f"{major}.{minor}"),
            *(word for abi in _ABIS for word in ("--abi", abi)),
            *(word for platform in architecture.platforms for word in ("--platform", platform)),
            *what,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr.strip() or f"pip ended with code {done.returncode}."


def _why(missing: Sequence[Pin], architecture: Architecture, folder: Path, told: str) -> str:
    """Pip stops at the first; ask for each by itself, so that all are named at once."""
    lacking = []
    for pin in missing:
        one = folder / f"{pin.name}.one.txt"
        one.write_text(
            f"{pin} " + " ".join(f"--hash=sha256:{digest}" for digest in sorted(pin.hashes)) + "\n"
        )
        try:
            said = _pip_download(["--requirement", str(one)], architecture, folder)
        finally:
            one.unlink()
        if "No matching distribution found" in said:
            lacking.append(str(pin))
    if not lacking:
        return f"pip could not fetch the wheels:\n{_last_lines(told)}"
    major, minor = PYTHON
    return (
        f"No wheel for Lambda's python{major}.{minor} on {architecture} ({architecture.platforms[0]} or older) of "
        f"{', '.join(lacking)}. Choose a version in requirements-lambda.in that has one, then `make lock`."
    )


def _last_lines(told: str) -> str:
    lines = [line for line in told.splitlines() if not line.startswith("WARNING")]
    return "\n".join(f"    {line}" for line in lines[-6:])
