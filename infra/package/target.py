"""What the package is made for: AWS Lambda's python3.13 on Amazon Linux 2023."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PYTHON: Final = (3, 13)
RUNTIME: Final = "python3.13"
TASK_ROOT: Final = "/var/task"  # where Lambda unpacks a zip; it is read-only
GLIBC: Final = 34  # Amazon Linux 2023 has 2.34
MOST_ZIP_MB: Final = 30.0
MOST_UNZIPPED_MB: Final = 120.0  # Lambda itself refuses 250
MEGABYTE: Final = 1_000_000

_OLDEST_GLIBC: Final = {"x86_64": 5, "aarch64": 17}
_OLD_NAMES: Final = {
    "x86_64": ("manylinux2014", "manylinux2010", "manylinux1"),
    "aarch64": ("manylinux2014",),
}


class PackageError(RuntimeError):
    """No package can be made; the message says why and what to do."""


class Architecture(StrEnum):
    """In Lambda's words."""

    X86_64 = "x86_64"
    ARM64 = "arm64"

    @property
    def machine(self) -> str:
        """In the words of wheels and of the kernel."""
        return "aarch64" if self is Architecture.ARM64 else "x86_64"

    @property
    def platforms(self) -> tuple[str, ...]:
        """The tags of wheels that run there, the newest first."""
        machine = self.machine
        newer = [f"manylinux_2_{minor}" for minor in range(GLIBC, _OLDEST_GLIBC[machine] - 1, -1)]
        return tuple(f"{name}_{machine}" for name in (*newer, *_OLD_NAMES[machine]))


@dataclass(frozen=True, slots=True)
class Limits:
    """Over these no package is made."""

    zip_mb: float = MOST_ZIP_MB
    unzipped_mb: float = MOST_UNZIPPED_MB
