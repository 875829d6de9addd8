"""`python -m infra.checks`: what does not hold, a line each."""

import sys

from infra.checks import CHECKS, problems
from infra.checks.made import installation
from infra.functions import of_app
from infra.rendering import STAGES, StageFile


def main() -> int:
    from app import app  # noqa: PLC0415 - it reads the environment when imported

    found = [
        each for stage in STAGES for each in problems(installation(StageFile.of(stage), of_app(app, stage)))
    ]
    print("\n".join(found) or f"{len(CHECKS)} checks hold at {', '.join(STAGES)}.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
