"""A schedule's life against a small model of it: every slot is accounted for once, whatever the ticks do.

The model finds slots by watching a clock on the wall, and shares no code with what it checks.
`pytest --hypothesis-profile explore` looks for new sequences; otherwise they are the same each time.
"""

import dataclasses
import threading
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from chalicelib.domain.ids import AgentConfigId
from chalicelib.services import agents
from chalicelib.services.schedules import Scheduler
from tests.builders import a_config, rows
from tests.conftest import World, a_tenant
from tests.fakes.clock import Hands

ZONES: Final = ["Europe/Berlin", "America/New_York", "Australia/Sydney"]
CHANGES: Final = [
    ("America/New_York", datetime(2026, 3, 7, 20, 7, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 28, 20, 7, tzinfo=UTC)),
    ("Australia/Sydney", datetime(2026, 4, 4, 10, 7, tzinfo=UTC)),
    ("Australia/Sydney", datetime(2026, 10, 3, 10, 7, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 24, 20, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 10, 31, 20, 7, tzinfo=UTC)),
]
"""The evening before the clocks change, and where."""
FIXED: Final = {"30 2 * * *": [(2, 30)], "15,45 1-3 * * *": [(h, m) for h in (1, 2, 3) for m in (15, 45)]}
"""Schedules of fixed times, as hours and minutes."""
ELAPSED: Final = {"0 * * * *": {0}, "*/20 * * * *": {0, 20, 40}}
"""Schedules that follow elapsed time, as minutes."""


FROM, TO = datetime(2026, 3, 1, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC)
STEP: Final = timedelta(minutes=5)
"""Divides every minute that a schedule names."""


@cache
def all_slots(schedule: str, zone: str) -> list[datetime]:
    """By the wall clock: a time that the clock skips is due right after the gap, one that comes twice the first time."""
    here = ZoneInfo(zone)
    moments = [FROM + STEP * n for n in range((TO - FROM) // STEP)]
    if schedule in ELAPSED:
        return [moment for moment in moments if moment.astimezone(here).minute in ELAPSED[schedule]]
    latest, found = FROM.astimezone(here).replace(tzinfo=None), set()
    for moment in moments:
        shown = moment.astimezone(here).replace(tzinfo=None)
        passed = (latest + STEP * n for n in range(1, (shown - latest) // STEP + 1))
        if any((face.hour, face.minute) in FIXED[schedule] for face in passed):
            found.add(moment)
        latest = max(latest, shown)
    return sorted(found)


def slots_after(schedule: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """The slots after one moment up to another."""
    slots = all_slots(schedule, zone)
    return slots[bisect_right(slots, after) : bisect_right(slots, until)]


@dataclass(slots=True)
class Model:
    """What a schedule should have done."""

    schedule: str
    zone: str
    counts_from: datetime  # slots after this are its own
    enabled: bool = True
    version: int = 1
    active: bool = False  # its last run is not over
    told: dict[datetime, tuple[str, int]] = field(
        default_factory=dict
    )  # what became of each slot, and how many it covers


class ScheduleMachine(RuleBasedStateMachine):
    """Two agents of one tenant, one of them where the clocks are about to change.

    Seen red with each of: resuming that counts from the day before, a run that is given the first of the missed slots
    for its own, an offset from UTC that does not change in the night.
    """

    world: World

    @initialize(
        change=st.sampled_from(CHANGES),
        zone=st.sampled_from(ZONES),
        fixed=st.sampled_from(list(FIXED)),
        schedule=st.sampled_from([*FIXED, *ELAPSED]),
    )
    def begin(self, change: tuple[str, datetime], zone: str, fixed: str, schedule: str) -> None:
        changing, evening = change
        self.clock = Hands(evening)
        self.database = dataclasses.replace(self.world.database, clock=self.clock)
        self.actor = a_tenant(self.database, "Machine").manager
        self.models = {
            a_config(self.database, self.actor, schedule=what, time_zone=where): Model(what, where, evening)
            for what, where in [(fixed, changing), (schedule, zone)]
        }

    @property
    def now(self) -> datetime:
        return self.clock.moment

    @rule(minutes=st.sampled_from([1, 7, 60, 61, 180, 1500, 3000]))
    def pass_time(self, minutes: int) -> None:
        """A minute between ticks, or two days without one."""
        self.clock.forward(timedelta(minutes=minutes))

    @rule(times=st.integers(1, 3))
    def tick(self, times: int) -> None:
        for _ in range(times):
            Scheduler(self.database).tick()
        self._fire()

    @rule()
    def two_ticks_at_once(self) -> None:
        together = threading.Barrier(2)

        def tick() -> None:
            together.wait()
            Scheduler(self.database).tick()

        ticks = [threading.Thread(target=tick) for _ in range(2)]
        for one in ticks:
            one.start()
        for one in ticks:
            one.join()
        self._fire()

    @rule(minutes=st.sampled_from([1, 59]))
    def tick_by_a_clock_that_is_behind(self, minutes: int) -> None:
        """It comes after those that were later, and must neither repeat a slot nor take one that is still to come."""
        now = self.clock.moment
        self._fire()
        Scheduler(self.database).tick()
        self.clock.moment = now - timedelta(minutes=minutes)
        Scheduler(self.database).tick()
        self.clock.moment = now

    @rule()
    def finish_runs(self) -> None:
        query = "UPDATE agent_runs SET status = 'completed' WHERE status = 'pending' RETURNING id"
        rows(self.database, self.actor, query)
        for model in self.models.values():
            model.active = False

    @rule(which=st.integers(0, 1))
    def pause_or_resume(self, which: int) -> None:
        """What was due and not ticked is forgotten: resuming counts from now."""
        config, model = list(self.models.items())[which]
        self._change(config, enabled=not model.enabled)
        model.enabled, model.counts_from = not model.enabled, self.now
        model.active &= model.enabled  # pausing cancels what waits

    @rule(which=st.integers(0, 1), schedule=st.sampled_from([*FIXED, *ELAPSED]), zone=st.sampled_from(ZONES))
    def edit(self, which: int, schedule: str, zone: str) -> None:
        config, model = list(self.models.items())[which]
        self._change(config, schedule=schedule, time_zone=zone)
        model.schedule, model.zone, model.counts_from = schedule, zone, self.now

    @rule(which=st.integers(0, 1))
    def rename(self, which: int) -> None:
        """An edit of anything else leaves what is due alone."""
        self._change(list(self.models)[which], name="Another name")

    @invariant()
    def every_slot_is_told_once(self) -> None:
        for config, model in self.models.items():
            fires = rows(
                self.database, self.actor, "SELECT * FROM schedule_fires WHERE agent_config_id = :c", c=config
            )
            assert {fire.slot_at: (fire.outcome, fire.covers) for fire in fires} == model.told
            assert len(fires) == len(model.told)

    @invariant()
    def no_slot_is_in_two_runs(self) -> None:
        fires = rows(self.database, self.actor, "SELECT * FROM schedule_fires WHERE run_id IS NOT NULL")
        runs = rows(self.database, self.actor, "SELECT * FROM agent_runs")
        assert len({(run.agent_config_id, run.slot_at) for run in runs}) == len(runs)
        for run in runs:
            of_run = [fire.slot_at for fire in fires if fire.run_id == run.id]
            assert (max(of_run), len(of_run)) == (run.slot_at, run.slots_covered)

    @invariant()
    def the_next_slot_is_known(self) -> None:
        query = "SELECT next_due_at FROM agent_configs WHERE id = :id"
        for config, model in self.models.items():
            (saved,) = rows(self.database, self.actor, query, id=config)
            due = slots_after(
                model.schedule, model.zone, model.counts_from, model.counts_from + timedelta(days=3)
            )
            assert saved.next_due_at == (due[0] if model.enabled else None)

    def teardown(self) -> None:
        if hasattr(self, "actor"):
            rows(self.database, self.actor, "UPDATE agent_configs SET next_due_at = NULL RETURNING id")

    def _fire(self) -> None:
        """What a tick at this moment makes of the slots that are due."""
        for model in self.models.values():
            due = (
                slots_after(model.schedule, model.zone, model.counts_from, self.now) if model.enabled else []
            )
            if not due:
                continue
            if model.active:
                model.told |= dict.fromkeys(due, ("skipped", 1))
            else:
                model.told |= dict.fromkeys(due, ("coalesced", 1)) | {due[-1]: ("started", len(due))}
            model.active, model.counts_from = True, self.now

    def _change(self, config: AgentConfigId, **changes: object) -> None:
        model = self.models[config]
        with self.database.enter(self.actor) as work:
            agents.change(work, config, version=model.version, changes=changes)
        model.version += 1


@pytest.mark.slow
def test_a_schedule_does_what_its_model_does(world: World) -> None:
    explores = settings.get_current_profile_name() == "explore"
    run_state_machine_as_test(
        type("Machine", (ScheduleMachine,), {"world": world}),
        settings=settings(
            max_examples=2000 if explores else 40,
            stateful_step_count=50 if explores else 25,
            derandomize=not explores,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
