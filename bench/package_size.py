"""How big the package is, beside the same code packaged plainly by Chalice."""

from bench import packaged
from bench.measuring import Limit, Report
from infra.package.archive import Sizes
from infra.package.target import MOST_ZIP_MB


def measure() -> Report:
    ours, plain = Sizes.of(packaged.ours()), Sizes.of(packaged.plain())
    return Report(
        bench="package_size",
        ours=[ours.zip_mb],
        theirs=[plain.zip_mb],
        unit="MB",
        reference="the zip of the same code made by `chalice package` alone",
        limit=Limit("zip_mb", MOST_ZIP_MB),
        extras={
            "zip_mb": ours.zip_mb,
            "unzipped_mb": ours.unzipped_mb,
            "files": ours.files,
            "biggest_zipped_mb": dict(ours.biggest),
            "plain_unzipped_mb": plain.unzipped_mb,
        },
    )
