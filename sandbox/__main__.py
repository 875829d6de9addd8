"""`python -m sandbox`: serves until it is told to stop, and says on one line where."""

import argparse
import json
import signal
import threading
from pathlib import Path

from sandbox.server import Sandbox
from sandbox.world import DEFAULT_SEED


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="another seed is another world")
    parser.add_argument(
        "--ledger", type=Path, default=None, help="a file that keeps every call as a line of JSON"
    )
    options = parser.parse_args()
    told_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: told_to_stop.set())
    with Sandbox(options.port, seed=options.seed, ledger_file=options.ledger) as sandbox:
        print(json.dumps({"url": sandbox.url}), flush=True)
        told_to_stop.wait()


if __name__ == "__main__":
    main()
