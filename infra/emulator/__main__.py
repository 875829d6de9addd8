"""`python -m infra.emulator PACKAGE HANDLER EVENT`: start a function from a package and hand it an event."""

import argparse
import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from infra.emulator.function import Configuration, EmulatorError, Function, unpack


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.emulator", description=__doc__)
    parser.add_argument("package", type=Path, help="the zip, e.g. build/x86_64/package.zip")
    parser.add_argument("handler", help="as it is deployed, e.g. app.execute_run")
    parser.add_argument("event", type=Path, help="a file of JSON")
    parser.add_argument("--environ", type=Path, help="a file of JSON: the function's environment variables")
    parser.add_argument("--timeout", type=float, default=29.0, metavar="SECONDS")
    parser.add_argument("--times", type=int, default=1, help="hand it over so often, to the same process")
    given = parser.parse_args()
    environ = json.loads(given.environ.read_text()) if given.environ else {}
    configuration = Configuration(
        given.handler, given.handler.rpartition(".")[2], timedelta(seconds=given.timeout), environ=environ
    )
    event = json.loads(given.event.read_text())
    with tempfile.TemporaryDirectory(prefix="lambda-") as name:
        log_file = Path(name) / "log"
        try:
            package = unpack(given.package, Path(name) / "task")
            with Function(package, configuration, log_file=log_file) as function:
                answers = [function.invoke(event) for _ in range(given.times)]
                print(function.log(), end="", file=sys.stderr)
        except EmulatorError as error:
            print(error, file=sys.stderr)
            return 2
    for answer in answers:
        what = answer.payload if answer.ok else {"errorType": answer.error_type, "errorMessage": answer.error}
        print(json.dumps(what))
        print(f"{answer.took.total_seconds() * 1000:.1f} ms", file=sys.stderr)
    return 0 if all(answer.ok for answer in answers) else 1


if __name__ == "__main__":
    sys.exit(main())
