"""Flow control where it once went wrong: locks out of order, waits too long or told wrongly, work left lying."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.db.queries import runs as queries
from chalicelib.db.work import Work
from chalicelib.domain.access import engine_for
from chalicelib.domain.ids import new_id
from tests.builders import a_config, rows, wait_until_somebody_waits
from tests.conftest import World
from tests.integration.test_flow_control import CHARGED, QUOTE, checkpoint, running


def say(
    work: Work,
    lease: queries.Lease,
    *,
    keys: tuple[str, ...] = (),
    settled: tuple[Mapping[str, Any], ...] = (),
    **quote: Any,
) -> None:
    """A checkpoint inside a transaction that goes on."""
    answered = queries.checkpoint(
        work.session,
        lease,
        steps=[],
        settled=[{**CHARGED, **entry} for entry in settled],
        news=[],
        calls=[{"id": new_id("UsageEntryId"), "stepKey": key} for key in keys],
        quote={**QUOTE, **quote},
        current_step=None,
        total=None,
    )
    assert queries.answer(answered).refusal is None


def beside(what: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Do it on a thread of its own; what went wrong there is in the list."""
    wrong: list[BaseException] = []

    def go() -> None:
        try:
            what()
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            wrong.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    return thread, wrong


# Locks


def test_a_free_calls_day_is_not_locked_before_its_month(world: World) -> None:
    """One run settles a call that costs nothing and books one that does; another settles one that did cost.

    Seen red, as a deadlock, with the month's row left alone where its sums stay the same.
    """
    config = a_config(world.database, world.ours.manager)
    one, other = running(world, config_id=config), running(world, config_id=config)
    (free,), _, _ = checkpoint(world, one, keys=["a"], credits=0)
    (paid,), _, _ = checkpoint(world, other, keys=["b"], credits=1)
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        say(work, one, settled=({"id": free, "status": "settled", "credits": 0},))
        thread, wrong = beside(
            lambda: checkpoint(world, other, settled=[{"id": paid, "status": "settled", "credits": 1}])
        )
        wait_until_somebody_waits(world.database)
        say(work, one, keys=("c",))
    thread.join()
    assert wrong == []
    checkpoint(world, one, settled=[])
    (month,) = rows(world.database, world.ours.manager, "SELECT * FROM usage_months")
    assert (month.credits_spent, month.credits_reserved) == (1, 1)
