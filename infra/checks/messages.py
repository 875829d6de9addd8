"""Queues, the bus, and what becomes of a message that nobody could read."""

from dataclasses import fields
from typing import Final

from chalicelib.settings import Queues
from infra.checks.made import Installation, Problems
from infra.functions import words

VISIBILITY: Final = 6  # times the function's timeout, as AWS asks


RECEIVES: Final = 5


LONGEST_RETENTION: Final = 14 * 24 * 3600  # seconds; SQS keeps nothing longer


def each_queue_has_a_dead_letter_queue(made: Installation) -> Problems:
    queues = made.stacks["messaging"].of_type("AWS::SQS::Queue")
    for function in made.functions:
        if function.queue is None:
            continue
        queue = queues.get(words(function.queue))
        if queue is None:
            yield f"{function.name} reads {function.queue}, which is not there"
            continue
        redrive = queue["Properties"].get("RedrivePolicy", {})
        dead = str(redrive.get("deadLetterTargetArn", "")).removesuffix(".Arn>").removeprefix("<")
        if dead not in queues:
            yield f"{function.queue} has no dead-letter queue"
        elif int(queues[dead]["Properties"]["MessageRetentionPeriod"]) < LONGEST_RETENTION:
            yield f"{dead} keeps dead letters for less than 14 days"
        if int(redrive.get("maxReceiveCount", 0)) < RECEIVES:
            yield f"{function.queue} gives a message up after fewer than {RECEIVES} tries"
    for name, properties in made.each("AWS::Events::Rule"):
        for target in properties["Targets"]:
            if "DeadLetterConfig" not in target:
                yield f"{name}: target {target['Id']} has no dead-letter queue"


def messages_stay_hidden_while_somebody_works(made: Installation) -> Problems:
    queues = made.stacks["messaging"].of_type("AWS::SQS::Queue")
    for function in made.functions:
        if function.queue is not None and words(function.queue) in queues:
            said = queues[words(function.queue)]["Properties"].get("VisibilityTimeout", 30)
            least = VISIBILITY * function.timeout_seconds
            if int(said) < least:
                yield f"{function.queue} hides messages for {said} s, {function.name} wants {least}"


def reserved_is_what_no_queue_limits(made: Installation) -> Problems:
    """A reserved figure throttles what Lambda has already received, which counts as a try of the message."""
    woken = {function.name for function in made.functions if function.queue is not None}
    for name in sorted(made.given.concurrency.keys() & woken):
        yield f"{name} has a reserved figure: its queue's dead letters would be messages that nobody tried"
    for name in sorted(
        {function.name for function in made.functions} - woken - made.given.concurrency.keys()
    ):
        yield f"{name} has no reserved figure, and no queue limits it"


def settings_find_their_queues_and_bus(made: Installation) -> Problems:
    for each in fields(Queues):
        if made.output(f"{words(each.name)}QueueName") is None:
            yield f"no output names {each.name.upper()}_QUEUE"
    for name in ("BusName", "EventSource"):
        if made.output(name) is None:
            yield f"no output has {name}"
