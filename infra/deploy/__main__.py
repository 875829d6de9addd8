"""`python -m infra.deploy deploy|rollback|destroy|person --stage STAGE`: see docs/how-to/deploy.md."""

import argparse
import os
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy.cloud import DeployError
from infra.package.target import Architecture


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description=__doc__)
    parser.add_argument("verb", choices=["deploy", "rollback", "destroy", "person"])
    parser.add_argument("--stage", required=True, help="a file of infra/parameters/")
    parser.add_argument("--arch", type=Architecture, choices=list(Architecture), default=Architecture.X86_64)
    parser.add_argument("--take-over", action="store_true", help="the lock's owner is surely dead")
    parser.add_argument(
        "--may-replace", default="", metavar="NAMES", help="stateful resources that may be lost"
    )
    parser.add_argument(
        "--database-ca", type=Path, help="RDS's authorities, where this machine cannot fetch them"
    )
    parser.add_argument("--release", help="of a rollback; default: the one before")
    parser.add_argument("--confirm", help="of a destroy: the stage's name, instead of typing it")
    parser.add_argument("--prod-too", action="store_true", help="of a destroy, for prod")
    given = parser.parse_args()
    try:
        _do(given)
    except (DeployError, ClientError, BotoCoreError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def _do(given: argparse.Namespace) -> None:
    if given.verb == "person":
        from infra.deploy.people import add_person  # noqa: PLC0415 - what it needs takes a second

        add_person(given.stage, os.environ, _tell)  # noqa: TID251 - names may hold what a shell would read
        return
    from infra.deploy.destroy import destroy  # noqa: PLC0415 - what it needs takes a second
    from infra.deploy.steps import Options, deploy, rollback  # noqa: PLC0415 - as above

    options = Options(
        given.stage,
        given.arch,
        take_over=given.take_over,
        may_replace=tuple(filter(None, given.may_replace.split(","))),
        database_ca=given.database_ca,
        tell=_tell,
    )
    if given.verb == "deploy":
        deploy(options)
    elif given.verb == "rollback":
        rollback(options, to=given.release)
    else:
        print(f"This deletes everything of {given.stage} but what AWS keeps (docs/how-to/deploy.md).")
        confirmed = given.confirm or input(f"Type {given.stage} to go on: ").strip()
        destroy(options, confirmed=confirmed, prod_too=given.prod_too)


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
