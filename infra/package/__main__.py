"""`python -m infra.package [--arch x86_64|arm64] [--out build]`: the package for Lambda, and what is in it."""

import argparse
import sys
from pathlib import Path

from infra.package.build import build
from infra.package.target import MOST_UNZIPPED_MB, MOST_ZIP_MB, Architecture, Limits, PackageError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.package", description=__doc__)
    parser.add_argument("--arch", type=Architecture, choices=list(Architecture), default=Architecture.X86_64)
    parser.add_argument("--out", type=Path, default=Path("build"), help="made when missing; default: build")
    parser.add_argument("--most-zip-mb", type=float, default=MOST_ZIP_MB, metavar="MB")
    parser.add_argument("--most-unzipped-mb", type=float, default=MOST_UNZIPPED_MB, metavar="MB")
    given = parser.parse_args()
    try:
        build(given.arch, given.out, limits=Limits(given.most_zip_mb, given.most_unzipped_mb))
    except PackageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
