"""DBOS Transact with the same three steps: `python -m bench.reference.dbos_engine accept|work URL …`.

As its documentation says: `accept` is a DBOSClient, the way to enqueue from another process; `work` is an
application with a registered queue, told which of several executors it is. It runs in an environment of its
own and imports nothing of ours.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from dbos import DBOS, DBOSClient

NAME = "bench-reference"
QUEUE = "bench"
WORKFLOW = "three_steps"


@DBOS.step()  # type: ignore[untyped-decorator]
def step(number: int) -> int:
    return number


@DBOS.workflow(name=WORKFLOW)  # type: ignore[untyped-decorator]
def three_steps() -> None:
    for number in range(3):
        step(number)


def accept(url: str, at_once: int) -> None:
    client = DBOSClient(system_database_url=url, application_name=NAME)
    watch = psycopg.connect(url, autocommit=True, application_name="bench-watch")

    def start_one() -> str:
        return str(client.enqueue({"workflow_name": WORKFLOW, "queue_name": QUEUE}).workflow_id)

    for asked in _asked():
        if asked["do"] == "accept":
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(lambda _: start_one(), range(asked["runs"])))
            _say({})
        elif asked["do"] == "once":  # from the first byte of the acceptance to the run's end
            began = time.perf_counter()
            run_id = start_one()
            sql = "SELECT status = 'SUCCESS' FROM dbos.workflow_status WHERE workflow_uuid = %s"
            while (said := watch.execute(sql, (run_id,)).fetchone()) is None or not said[0]:
                time.sleep(0.001)
            _say({"ms": (time.perf_counter() - began) * 1000})


def work(url: str, executor: str, at_once: int, polling_seconds: float) -> None:
    DBOS(
        config={
            "name": NAME,
            "system_database_url": url,
            "application_version": "1",
            "executor_id": executor,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=at_once, polling_interval_sec=polling_seconds)
    for _ in _asked():
        pass


def _asked() -> Iterator[dict[str, Any]]:
    _say({"ready": True})
    for line in sys.stdin:
        yield json.loads(line)


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["accept", "work"])
    parser.add_argument("url")
    parser.add_argument("--executor", default="1")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--polling-seconds", type=float, default=1.0)
    given = parser.parse_args()
    if given.role == "accept":
        accept(given.url, given.at_once)
    else:
        work(given.url, given.executor, given.at_once, given.polling_seconds)


if __name__ == "__main__":
    main()
