"""The console's files: uploaded where they differ, the page that names them last, and the cache told."""

import hashlib
import mimetypes
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from infra.deploy.cloud import Cloud, code_of
from infra.package import archive

IMMUTABLE: Final = "public, max-age=31536000, immutable"
ALWAYS_ASKED: Final = "no-cache"
_TYPES: Final[Mapping[str, str]] = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}


def pack(folder: Path, path: Path) -> None:
    """A zip of the console, the same bytes for the same files, for a rollback."""
    archive.write(path, files(folder))


def unpack(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as packed:
        packed.extractall(folder)


def files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def upload(cloud: Cloud, folder: Path, *, bucket: str, distribution: str) -> list[str]:
    """Returns the files that were written. Nothing is deleted: an open page may still load its old parts."""
    s3 = cloud.client("s3")
    found = files(folder)
    written = []
    # A page must not name what is not there yet.
    for name in sorted(found, key=lambda each: (each.endswith(".html"), each)):
        body, kept = found[name].read_bytes(), _cache(name)
        if _is_there(s3, bucket, name, body, kept):
            continue
        s3.put_object(Bucket=bucket, Key=name, Body=body, ContentType=_type(name), CacheControl=kept)
        written.append(name)
    stale = [f"/{name}" for name in written if _cache(name) == ALWAYS_ASKED]
    if stale:
        invalidate(cloud, distribution, [*stale, "/"] if "/index.html" in stale else stale)
    return written


def invalidate(cloud: Cloud, distribution: str, paths: list[str]) -> None:
    cloud.client("cloudfront").create_invalidation(
        DistributionId=distribution,
        InvalidationBatch={
            "Paths": {"Quantity": len(paths), "Items": paths},
            "CallerReference": uuid.uuid4().hex,
        },
    )


def _is_there(s3: Any, bucket: str, name: str, body: bytes, kept: str) -> bool:
    try:
        head = s3.head_object(Bucket=bucket, Key=name)
    except ClientError as error:
        if code_of(error) == "404":
            return False
        raise
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    same: bool = (
        head["ETag"].strip('"') == digest
        and head.get("CacheControl") == kept
        and head["ContentType"] == _type(name)
    )
    return same


def _cache(name: str) -> str:
    return IMMUTABLE if name.startswith("assets/") else ALWAYS_ASKED


def _type(name: str) -> str:
    known = _TYPES.get(Path(name).suffix)
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"
