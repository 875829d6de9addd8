"""Flow control against a model of it in plain Python: any order of calls, crashes, clocks and changes of mind."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chalicelib.db.queries import runs as queries
from chalicelib.domain.access import engine_for
from chalicelib.domain.ids import AgentConfigId, RunId, new_id
from chalicelib.domain.money import Gate, Refusal
from chalicelib.services import agents, budgets
from tests.builders import a_config, a_run, rows
from tests.conftest import World, a_tenant
from tests.fakes.clock import Hands

STARTS = (
    datetime(2026, 3, 28, 22, 50, tzinfo=UTC),  # ten minutes to Berlin's midnight, and its clocks go forward
    datetime(2026, 3, 31, 21, 50, tzinfo=UTC),  # the same, and then April's first day by UTC
    datetime(2026, 4, 4, 14, 35, tzinfo=UTC),  # Lord Howe's clocks are about to go back by half an hour
)
ZONES = ("Asia/Kolkata", "Europe/Berlin", "Australia/Lord_Howe")
LEAPS = {"1 s": 1, "59 s": 59, "61 s": 61, "17 min": 17 * 60, "1 h": 3600, "3 h": 3 * 3600, "25 h": 25 * 3600}
MINUTE = timedelta(minutes=1)
PLATFORM_CREDITS, PLATFORM_DOLLARS = 60, 5


@dataclass(frozen=True)
class Kind:
    """A sort of call, as it is quoted."""

    provider: str = "apollo"
    credits: int = 0
    dollars: Decimal | None = Decimal(0)  # None: nobody knows
    payer: str = "tenant"
    counts: bool = False
    per_minute: int | None = None

    @property
    def group(self) -> str:
        return f"{self.provider}:call"


KINDS = (
    Kind(),
    Kind(credits=1, counts=True, per_minute=6),
    Kind(credits=9, counts=True, per_minute=6),
    Kind(credits=1, counts=True, payer="platform"),
    Kind("openai", dollars=Decimal("0.40"), counts=True),
    Kind("openai", dollars=None, counts=True, payer="platform"),
    Kind("openai", credits=2, dollars=Decimal("0.75"), payer="platform", per_minute=9),
)


@dataclass
class Entry:
    run: int
    key: str
    kind: Kind
    born: datetime
    status: str = "reserved"
    credits: int = 0
    dollars: Decimal | None = None
    model: str = ""

    @property
    def month(self) -> date:
        return self.born.date().replace(day=1)

    @property
    def is_spent(self) -> bool:
        return self.status in {"settled", "unknown"}


@dataclass
class Config:
    id: AgentConfigId
    zone: ZoneInfo
    version: int = 1
    limits: dict[str, int] = field(default_factory=dict)
    items: list[datetime] = field(default_factory=list)  # taken while there was a limit

    def hour(self, moment: datetime) -> tuple[object, ...]:
        there = moment.astimezone(self.zone)
        return there.date(), there.hour, there.utcoffset()

    def day(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()

    def this_hour(self, now: datetime) -> int:
        return sum(self.hour(item) == self.hour(now) for item in self.items)

    def today(self, now: datetime) -> int:
        return sum(self.day(item) == self.day(now) for item in self.items)

    def to_the_next_hour(self, now: datetime) -> timedelta:
        then = now.replace(second=0, microsecond=0) + MINUTE
        while self.hour(then) == self.hour(now):
            then += MINUTE
        return then - now


@dataclass
class Bucket:
    opened: datetime
    per_minute: int | None = None
    used: int = 0
    blocked: datetime | None = None

    def at(self, now: datetime) -> "Bucket":
        """As it is for a call that is made now: a minute begins with its first one."""
        return replace(self, opened=now, used=0) if self.opened <= now - MINUTE else self

    def refuses(self, calls: int, most: int | None, now: datetime) -> tuple[int, timedelta] | None:
        """How many pass, and when the next one does; None: all do."""
        fits = calls if most is None else min(calls, max(most - self.used, 0))
        opens = self.opened + MINUTE - now
        if self.blocked is not None and self.blocked > now:
            return 0, max(self.blocked - now, timedelta() if fits else opens)
        return None if fits == calls else (fits, opens)


@dataclass
class Expected:
    gate: Gate | None
    fits: int
    retry_in: timedelta | None = None


class FlowMachine(RuleBasedStateMachine):
    """A tenant of its own for each example, two runs of one agent and one of another."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.clock = Hands(STARTS[0])
        self.database = replace(world.database, clock=self.clock)
        self.tenant = a_tenant(self.database, "Example")
        self.credential = new_id("CredentialId")
        self.configs = [self._a_config(zone) for zone in (ZONES[0], ZONES[1], ZONES[2])]
        self.runs = [self._a_run(config) for config in (0, 0, 1, 2)]
        self.lost: list[queries.Lease] = []
        self.entries: dict[str, Entry] = {}
        self.buckets: dict[str, Bucket] = {}
        self.caps: tuple[int | None, Decimal | None] = (None, None)
        self.caps_version = 0

    @property
    def now(self) -> datetime:
        return self.clock.moment

    def _a_config(self, zone: str) -> Config:
        return Config(a_config(self.database, self.tenant.manager, time_zone=zone), ZoneInfo(zone))

    def _a_run(self, config: int) -> tuple[queries.Lease, Config]:
        run_id = a_run(self.database, self.tenant.manager, config_id=self.configs[config].id)
        lease = queries.Lease(run_id, new_id("RunId"))
        self._sql(
            "UPDATE agent_runs SET status = 'running', lease_token = :token, started_at = app_now(), attempt = 1,"
            " lease_expires_at = app_now() + interval '2 min' WHERE id = :id RETURNING id",
            token=lease.token,
            id=run_id,
        )
        return lease, self.configs[config]

    def _sql(self, sql: str, **parameters: Any) -> list[Any]:
        return rows(self.database, self.tenant.manager, sql, **parameters)

    def _checkpoint(
        self,
        lease: queries.Lease,
        *,
        calls: Sequence[Mapping[str, Any]] = (),
        kind: Kind | None = None,
        settled: Sequence[Mapping[str, Any]] = (),
        news: Sequence[Mapping[str, Any]] = (),
    ) -> Refusal | None:
        with self.database.enter(engine_for(self.tenant.customer_id)) as work:
            answered = queries.checkpoint(
                work.session,
                lease,
                queries.Written(
                    settled=[dict(entry) for entry in settled], news=[dict(heard) for heard in news]
                ),
                calls=[dict(call) for call in calls],
                quote=None if kind is None else self._quote(kind),
                current_step=None,
            )
        return queries.answer(answered).refusal

    def _quote(self, kind: Kind) -> dict[str, Any]:
        return {
            "provider": kind.provider,
            "operation": "call",
            "credits": kind.credits,
            "dollars": None if kind.dollars is None else str(kind.dollars),
            "payer": kind.payer,
            "credential": self.credential,
            "perMinute": kind.per_minute,
            "countsItems": kind.counts,
            "platformCredits": PLATFORM_CREDITS,
            "platformDollars": PLATFORM_DOLLARS,
        }

    # What the model says

    def _booked(self, column: str, *, payer: str | None = None) -> Decimal:
        """This month's, at the worst where it is not known."""
        return sum(
            (
                Decimal(getattr(entry, column) or 0)
                for entry in self.entries.values()
                if entry.month == self.now.date().replace(day=1)
                and entry.status != "released"
                and payer in {None, entry.kind.payer}
            ),
            Decimal(0),
        )

    def _is_new(self, run: int, key: str) -> bool:
        return not any(entry.run == run and entry.key == key for entry in self.entries.values())

    def _caps_of(self, kind: Kind) -> list[tuple[Gate, int | Decimal, Decimal, int | Decimal | None]]:
        most_credits, most_dollars = self.caps
        caps: list[tuple[Gate, int | Decimal | None, Decimal, int | Decimal | None]] = [
            (Gate.CREDITS, most_credits, self._booked("credits"), kind.credits),
            (Gate.DOLLARS, most_dollars, self._booked("dollars"), kind.dollars),
        ]
        if kind.payer == "platform":
            of_platform = self._booked("credits", payer="platform"), self._booked("dollars", payer="platform")
            caps.append((Gate.PLATFORM_CREDITS, PLATFORM_CREDITS, of_platform[0], kind.credits))
            caps.append((Gate.PLATFORM_DOLLARS, PLATFORM_DOLLARS, of_platform[1], kind.dollars))
        return [
            (gate, cap, booked, price) for gate, cap, booked, price in caps if cap is not None and price != 0
        ]

    def _expected(self, run: int, keys: Sequence[str], kind: Kind) -> Expected:
        config = self.runs[run][1]
        answer = Expected(None, len(keys))
        if kind.counts:
            hourly, daily = (config.limits.get(name, 10**9) for name in ("hourly", "daily"))
            hour, day = config.this_hour(self.now), config.today(self.now)
            taken = 0
            for nth, key in enumerate(keys):
                taken += self._is_new(run, key)
                if day + taken > daily:
                    answer = Expected(Gate.DAILY, nth)
                    break
                if hour + taken > hourly:
                    answer = Expected(Gate.HOURLY, nth, config.to_the_next_hour(self.now))
                    break
        for gate, cap, booked, price in self._caps_of(kind):
            if price is None:
                answer = Expected(Gate.UNPRICED, 0)
            elif booked + answer.fits * price > cap:
                answer = Expected(gate, max(int(((cap - booked) / price).to_integral_value(ROUND_DOWN)), 0))
        if answer.gate is None and (refused := self._bucket_refuses(len(keys), kind)):
            answer = Expected(Gate.RATE, *refused)
        return answer

    def _bucket_refuses(self, calls: int, kind: Kind) -> tuple[int, timedelta] | None:
        if kind.group not in self.buckets and kind.per_minute is None:
            return None
        bucket = self.buckets.setdefault(kind.group, Bucket(self.now)).at(self.now)
        return bucket.refuses(calls, bucket.per_minute or kind.per_minute, self.now)

    # What happens

    @initialize(start=st.sampled_from(STARTS))
    def begin(self, start: datetime) -> None:
        self.clock.moment = start
        self.change_limits(which=0, hourly=4, daily=None)
        self.change_limits(which=1, hourly=None, daily=9)
        self.change_limits(which=2, hourly=4, daily=None)
        self.change_caps(most_credits=40, dollars=None)

    def _ask(self, run: int, keys: Sequence[str], kind: Kind) -> Refusal | None:
        expected = self._expected(run, keys, kind)
        calls = [{"id": new_id("UsageEntryId"), "stepKey": key} for key in keys]
        refusal = self._checkpoint(self.runs[run][0], calls=calls, kind=kind)
        told = (None, len(keys), None) if refusal is None else (refusal.gate, refusal.fits, refusal.retry_in)
        assert told == (expected.gate, expected.fits, expected.retry_in)
        if refusal is None:
            self._were_booked(run, calls, kind)
        return refusal

    def _were_booked(self, run: int, calls: Sequence[Mapping[str, str]], kind: Kind) -> None:
        config = self.runs[run][1]
        if kind.counts and config.limits:
            config.items += [self.now for call in calls if self._is_new(run, call["stepKey"])]
            assert config.this_hour(self.now) <= config.limits.get("hourly", 10**9)
            assert config.today(self.now) <= config.limits.get("daily", 10**9)
        for call in calls:
            self.entries[call["id"]] = Entry(
                run, call["stepKey"], kind, self.now, credits=kind.credits, dollars=kind.dollars
            )
        for _, cap, booked, price in self._caps_of(kind):
            assert price is not None
            assert booked <= cap
        if kind.group in self.buckets:
            bucket = self.buckets[kind.group] = self.buckets[kind.group].at(self.now)
            bucket.used += len(calls)
            assert bucket.used <= (bucket.per_minute or kind.per_minute or 10**9)

    @rule(
        run=st.integers(0, 3),
        numbers=st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True),
        kind=st.sampled_from(KINDS),
        waits=st.booleans(),
    )
    def book(self, run: int, numbers: list[int], kind: Kind, waits: bool) -> None:  # noqa: FBT001 - drawn
        """All or nothing; then as many as fit; and, at times, again just before and when it is worth it."""
        keys = [f"item:{number}" for number in numbers]
        refusal = self._ask(run, keys, kind)
        if refusal is None:
            return
        if refusal.fits > 0:
            fewer = self._ask(run, keys[: refusal.fits], kind)
            assert fewer is None or fewer.gate is not refusal.gate
        elif waits and (retry_in := refusal.retry_in or self._to_the_next_month(refusal.gate)) is not None:
            self.clock.forward(retry_in - timedelta(microseconds=1))
            still = self._ask(run, keys[:1], kind)
            assert still is not None
            assert still.gate is refusal.gate
            self.clock.forward(timedelta(microseconds=1))
            then = self._ask(run, keys[:1], kind)
            assert then is None or then.gate is not refusal.gate or then.limit == 0

    def _to_the_next_month(self, gate: Gate) -> timedelta | None:
        if gate in {Gate.DAILY, Gate.UNPRICED}:
            return None
        month = (self.now.replace(day=1) + timedelta(days=32)).date().replace(day=1)
        return datetime(month.year, month.month, 1, tzinfo=UTC) - self.now

    @rule(run=st.integers(0, 3), first=st.integers(0, 30), kind=st.sampled_from(KINDS))
    def book_a_handful(self, run: int, first: int, kind: Kind) -> None:
        """What a window of calls asks for: here so that more is booked than changed."""
        keys = [f"item:{number}" for number in range(first, first + 8)]
        while (refusal := self._ask(run, keys, kind)) is not None and refusal.fits > 0:
            keys = keys[: refusal.fits]

    @rule(
        which=st.integers(0, 10**6),
        run=st.integers(0, 3),
        fate=st.sampled_from(["settled", "settled", "released", "unknown"]),
        charged=st.integers(0, 12),
        dollars=st.sampled_from([None, "0", "0.10", "0.90"]),
    )
    def settle(self, which: int, run: int, fate: str, charged: int, dollars: str | None) -> None:
        """Any call: under way, of unknown fate, or settled already, which stays as it is."""
        if not self.entries:
            return
        entry_id = list(self.entries)[which % len(self.entries)]
        released = fate == "released"
        said = {
            "id": entry_id,
            "status": fate,
            "model": "m" if fate == "settled" else None,
            "credits": 0 if released else charged,
            "dollars": "0" if released else dollars,
            **dict.fromkeys(("tokensIn", "tokensCached", "tokensOut", "tokensReasoning"), 0),
        }
        self._checkpoint(self.runs[run][0], settled=[said])
        entry = self.entries[entry_id]
        if entry.status in {"reserved", "unknown"}:
            entry.status, entry.model = fate, str(said["model"] or entry.model)
            if fate != "unknown":
                entry.credits = 0 if released else charged
                entry.dollars = Decimal(0) if released else None if dollars is None else Decimal(dollars)

    @rule(run=st.integers(0, 3))
    def crash(self, run: int) -> None:
        """Nobody hears of the worker again; another takes the run over."""
        lease, config = self.runs[run]
        self._sql(
            "UPDATE agent_runs SET created_at = app_now(), failures = 0, lease_expires_at ="
            " app_now() + CASE id WHEN :id THEN interval '0' ELSE interval '1 h' END RETURNING id",
            id=lease.run_id,
        )
        token = new_id("RunId")
        with self.database.enter(engine_for(self.tenant.customer_id)) as work:
            taken = queries.claim(work.session, token=token, limit=50, enabled=True, sinks=[])
        assert taken.id == lease.run_id
        self.lost.append(lease)
        self.runs[run] = queries.Lease(RunId(taken.id), token), config
        for entry in self.entries.values():
            if entry.run == run and entry.status == "reserved":
                entry.status = "unknown"

    @rule()
    def the_lost_worker_comes_back(self) -> None:
        if not self.lost:
            return
        said = [{"id": entry_id, "status": "released", "credits": 0} for entry_id in self.entries]
        with pytest.raises(DBAPIError) as refused:
            self._checkpoint(self.lost[-1], settled=said)
        assert queries.lost(refused.value)

    @rule(leap=st.sampled_from(sorted(LEAPS)))
    def time_goes_by(self, leap: str) -> None:
        self.clock.forward(LEAPS[leap])

    @rule(
        which=st.integers(0, 2),
        hourly=st.sampled_from([None, None, 1, 4]),
        daily=st.sampled_from([None, 3, 9]),
    )
    def change_limits(self, which: int, hourly: int | None, daily: int | None) -> None:
        config = self.configs[which]
        given = {"hourly": hourly, "daily": daily}
        with self.database.enter(self.tenant.manager) as work:
            agents.change(work, config.id, version=config.version, changes={"limits": given})
        config.version += 1
        config.limits = {name: most for name, most in given.items() if most is not None}

    @rule(
        most_credits=st.sampled_from([None, 0, 10, 40, 100]),
        dollars=st.sampled_from([None, None, "0", "1.50", "6"]),
    )
    def change_caps(self, most_credits: int | None, dollars: str | None) -> None:
        self.caps = most_credits, None if dollars is None else Decimal(dollars)
        with self.database.enter(self.tenant.manager) as work:
            budgets.change(
                work, version=self.caps_version, monthly_credits=self.caps[0], monthly_dollars=self.caps[1]
            )
        self.caps_version += 1

    @rule(
        provider=st.sampled_from(["apollo", "openai"]),
        per_minute=st.sampled_from([2, 9, 40]),
        left=st.integers(0, 60),
        blocked=st.sampled_from([None, None, None, 5, 90]),
    )
    def hear(self, provider: str, per_minute: int, left: int, blocked: int | None) -> None:
        """What a provider's answer says of its rate, or a 429 that says nothing but how long."""
        figures = (per_minute, min(left, per_minute)) if blocked is None else (None, None)
        group = f"{provider}:call"
        self._checkpoint(
            self.runs[0][0],
            news=[
                {
                    "credential": self.credential,
                    "endpointGroup": group,
                    "perMinute": figures[0],
                    "left": figures[1],
                    "blockedForSeconds": blocked,
                }
            ],
        )
        bucket = self.buckets[group] = self.buckets.get(group, Bucket(self.now)).at(self.now)
        if blocked is None:
            bucket.per_minute = per_minute
            bucket.used = max(bucket.used, per_minute - min(left, per_minute))
        else:
            until = self.now + timedelta(seconds=blocked)
            bucket.blocked = max(bucket.blocked or until, until)

    # What always holds

    @invariant()
    def the_ledger_is_the_models(self) -> None:
        found = self._sql("SELECT id, status, credits, dollars, created_at FROM usage_entries")
        assert {row.id: (row.status, row.credits, row.dollars, row.created_at) for row in found} == {
            entry_id: (entry.status, entry.credits, entry.dollars, entry.born)
            for entry_id, entry in self.entries.items()
        }

    @invariant()
    def a_month_is_the_sum_of_its_entries(self) -> None:
        sums: dict[date, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 6)
        for entry in self.entries.values():
            spent = entry.is_spent
            for place, column in ((0, entry.credits), (2, entry.dollars or 0)):
                if entry.status != "released":
                    sums[entry.month][place + spent] += column
                    if entry.kind.payer == "platform":
                        sums[entry.month][4 + place // 2] += column
        found = self._sql(
            "SELECT month, credits_reserved, credits_spent, dollars_reserved, dollars_spent, platform_credits,"
            " platform_dollars FROM usage_months"
        )
        kept = {row.month: [Decimal(figure) for figure in row[1:]] for row in found}
        assert {month: figures for month, figures in kept.items() if any(figures)} == {
            month: figures for month, figures in sums.items() if any(figures)
        }

    @invariant()
    def a_day_is_the_sum_of_what_was_spent(self) -> None:
        calls: Counter[tuple[date, str, str, str]] = Counter()
        unpriced: Counter[tuple[date, str, str, str]] = Counter()
        charged: Counter[tuple[date, str, str, str]] = Counter()
        for entry in self.entries.values():
            if entry.is_spent:
                key = (entry.born.date(), self.runs[entry.run][1].id, entry.kind.provider, entry.model)
                calls[key] += 1
                charged[key] += entry.credits
                unpriced[key] += entry.dollars is None
        found = self._sql("SELECT * FROM usage_days WHERE calls <> 0 OR credits <> 0 OR dollars <> 0")
        assert {
            (row.day, row.agent_config_id, row.provider, row.model): (
                row.calls,
                row.unpriced_calls,
                row.credits,
            )
            for row in found
        } == {key: (calls[key], unpriced[key], charged[key]) for key in calls}
        spent = sum(
            (entry.dollars for entry in self.entries.values() if entry.is_spent and entry.dollars), Decimal(0)
        )
        assert sum((row.dollars for row in found), Decimal(0)) == spent

    @invariant()
    def a_bucket_is_what_was_called_and_heard(self) -> None:
        with self.database.system() as session:
            found = session.execute(
                text("SELECT * FROM rate_buckets WHERE credential = :credential"),
                {"credential": self.credential},
            ).all()
        for row in found:
            bucket = self.buckets[row.endpoint_group]
            kept = Bucket(row.window_at, row.per_minute, row.used, row.blocked_until)
            assert kept.at(self.now) == bucket.at(self.now)


def test_flow_control_does_what_its_model_says(world: World) -> None:
    """Seen red with what is reserved left out of the month, a month that does not end, the hour and the day by UTC,
    every try counted as an item, a counter that is not raised, a minute whose last microsecond is the next one's, a
    takeover that leaves calls reserved, a settled call settled again, and a full minute behind a closed bucket forgotten.
    """

    class InThisWorld(FlowMachine):
        def __init__(self) -> None:
            super().__init__(world)

    run_state_machine_as_test(
        InThisWorld,
        settings=settings(
            max_examples=20,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
