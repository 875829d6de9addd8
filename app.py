"""Every Lambda entry point on one screen. What they do is in chalicelib/api and chalicelib/workers."""

from typing import Any

from chalice.app import Chalice, CloudWatchEvent, Rate, SQSEvent

from chalicelib import cold_start  # before the other imports of ours
from chalicelib.api import routes
from chalicelib.settings import queues
from chalicelib.workers import effects, newcomers, outbox, rotation, runs, sweep
from chalicelib.workers.runs import Failures

app = Chalice(app_name="bevyly-agents")
app.debug = False
routes.register(app)


# Queues
@app.on_sqs_message(queue=queues().runs, batch_size=1, maximum_concurrency=20)
def execute_run(event: SQSEvent) -> None:
    """The doorbell: look at one tenant, execute its best due run for a slice."""
    runs.execute(event)


@app.on_sqs_message(queue=queues().runs_dead, batch_size=1, maximum_concurrency=2)
def bury_run(event: SQSEvent) -> None:
    """A message nobody could read: record it, ring its tenant, leave every run as it is."""
    runs.bury(event)


@app.on_sqs_message(queue=queues().relay, batch_size=10, maximum_concurrency=2)
def relay_events(event: SQSEvent) -> None:
    """Publish what the outbox holds."""
    outbox.relay(event)


@app.on_sqs_message(queue=queues().effects, batch_size=10, maximum_concurrency=5)
def apply_decisions(event: SQSEvent) -> Failures:
    """Give decisions their effect when their undo window is over."""
    return effects.apply(event)


@app.on_sqs_message(queue=queues().events, batch_size=10, maximum_concurrency=5)
def start_event_runs(event: SQSEvent) -> Failures:
    """Events of the bus, some of which agents wait for."""
    return runs.start_for_events(event)


# By hand
@app.lambda_function()
def rotate_keys(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Put every saved key's data key under the current wrapping key; started again, it goes on."""
    return rotation.rotate(event, context)


@app.lambda_function()
def add_person(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Register a person at a customer that is made with them, or that is there; again, it changes nothing."""
    return newcomers.add_person(event, context)


# Schedules
@app.schedule(Rate(1, unit=Rate.MINUTES))
def run_due_schedules(event: CloudWatchEvent) -> dict[str, int]:
    """Start the runs whose slot has come. Late or twice, each slot counts once."""
    return sweep.run_due_schedules(event)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep_minute(event: CloudWatchEvent) -> dict[str, Any]:
    """What a lost message or a dead worker would leave lying, and what has been kept long enough."""
    return sweep.every_minute(event)


cold_start.over()
