"""`python -m migrations upgrade|check|revision --url URL [--ca-file PEM] [-m MESSAGE]`."""

import argparse

from alembic import command

from migrations import runner


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m migrations")
    parser.add_argument("verb", choices=["upgrade", "check", "revision"])
    parser.add_argument("--url", required=True, help="postgresql+pg8000://owner:password@host:port/database")
    parser.add_argument(
        "--ca-file", help="its certificate's authorities, off this machine; for Aurora RDS's bundle"
    )
    parser.add_argument("-m", "--message", default="")
    given = parser.parse_args()
    if given.verb == "upgrade":
        runner.upgrade(given.url, ca_file=given.ca_file)
    elif given.verb == "check":
        runner.check(given.url, ca_file=given.ca_file)
    else:
        command.revision(
            runner.config(given.url, ca_file=given.ca_file), message=given.message, autogenerate=True
        )


if __name__ == "__main__":
    main()
