"""`python -m migrations upgrade|check|revision --url URL [-m MESSAGE]`."""

import argparse

from alembic import command

from migrations import runner


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m migrations")
    parser.add_argument("verb", choices=["upgrade", "check", "revision"])
    parser.add_argument("--url", required=True, help="postgresql+pg8000://owner:password@host:port/database")
    parser.add_argument("-m", "--message", default="")
    given = parser.parse_args()
    if given.verb == "upgrade":
        runner.upgrade(given.url)
    elif given.verb == "check":
        runner.check(given.url)
    else:
        command.revision(runner.config(given.url), message=given.message, autogenerate=True)


if __name__ == "__main__":
    main()
