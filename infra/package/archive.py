"""The zip: the same bytes for the same files, whatever their times and the order in which they were found."""

import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.package.target import MEGABYTE, Limits, PackageError

BIGGEST: Final = 10
_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say
_UNIX: Final = 3
_REGULAR: Final = 0o100000


def write(path: Path, files: Mapping[str, Path]) -> None:
    """Zip the files under the given names, replacing what is at the path."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, source in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = (_REGULAR | (source.stat().st_mode & 0o777)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, source.read_bytes())
    unfinished.replace(path)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a zip; megabytes are millions of bytes, as Lambda's own limits are."""

    zip_mb: float
    unzipped_mb: float
    files: int
    biggest: Mapping[str, float]  # the ten biggest parts, zipped

    @classmethod
    def of(cls, path: Path) -> "Sizes":
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        parts: Counter[str] = Counter()
        for entry in entries:
            parts[_part(entry.filename)] += entry.compress_size
        return cls(
            zip_mb=_megabytes(path.stat().st_size),
            unzipped_mb=_megabytes(sum(entry.file_size for entry in entries)),
            files=len(entries),
            biggest={name: _megabytes(size) for name, size in parts.most_common(BIGGEST)},
        )

    def check(self, limits: Limits) -> None:
        """Raises PackageError when it is over: by how much, and what is biggest."""
        for what, size, limit in (
            ("zipped", self.zip_mb, limits.zip_mb),
            ("unzipped", self.unzipped_mb, limits.unzipped_mb),
        ):
            if size > limit:
                raise PackageError(
                    f"The package is too big: {size:.1f} MB {what}, which is {size - limit:.1f} MB over the limit of "
                    f"{limit:g} MB. The biggest parts, zipped: {self.told()}. "
                    "infra/package/left_out.toml says what stays out."
                )

    def told(self) -> str:
        return ", ".join(f"{name} {megabytes:.1f}" for name, megabytes in self.biggest.items())


def _part(name: str) -> str:
    first = name.partition("/")[0]
    return "*.dist-info" if first.endswith(".dist-info") else first.partition(".")[0]


def _megabytes(size: int) -> float:
    return round(size / MEGABYTE, 2)
