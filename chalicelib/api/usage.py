"""What was spent: by day, agent, provider and model, and the ledger line by line."""

import re
from datetime import date, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from chalicelib.api.http import Out, Page, route
from chalicelib.api.listing import page_of
from chalicelib.api.pages import Keyset, Listing
from chalicelib.api.parsing import In, Instant
from chalicelib.db.models.money import UsageEntry
from chalicelib.db.queries import usage as queries
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import Invalid
from chalicelib.domain.money import EntryStatus, Grouping, Payer
from chalicelib.services import usage
from chalicelib.services.usage import Row, Spent


def _day_only(value: Any) -> Any:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("Input should be a day such as 2030-01-31")
    return value


def _sane(day: date) -> date:
    if not 1900 <= day.year <= 9998:  # noqa: PLR2004 - as of instants
        raise ValueError("Input should be a day between the years 1900 and 9998")
    return day


_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
Day = Annotated[date, Field(strict=False), BeforeValidator(_day_only), AfterValidator(_sane)]
Name = Annotated[str, Field(max_length=100)]


class SpentOut(Out):
    """What some calls came to."""

    calls: int
    unpriced_calls: int = Field(description="Of a model whose price nobody knows.")
    credits: int
    dollars: float | None = Field(
        description="US dollars for models, as far as their price is known; null where none of it is."
    )
    dollars_complete: bool = Field(description="False: calls of unknown price come on top.")
    tokens_in: int
    tokens_cached: int = Field(description="Of tokensIn.")
    tokens_out: int
    tokens_reasoning: int = Field(description="Of tokensOut.")

    @classmethod
    def of(cls, spent: Spent) -> "SpentOut":
        return cls(**_figures(spent))


class UsageRowOut(SpentOut):
    """One group. What it is not grouped by is null."""

    day: date | None
    agent_config_id: str | None = Field(description="Null also for runs of no saved agent.")
    agent_name: str | None = Field(description="As it is called now, or was when it was deleted.")
    agent_deleted: bool | None
    agent_type: str | None
    provider: str | None
    model: str | None = Field(description="Null also for calls that have none.")
    payer: Payer | None = Field(description="Whose key: the tenant's own, or the installation's.")

    @classmethod
    def of_row(cls, row: Row) -> "UsageRowOut":
        return cls(
            **_figures(row.spent),
            day=row.key.get("day"),
            agent_config_id=row.key.get("agent_config_id") or None,
            agent_name=row.agent.name if row.agent else None,
            agent_deleted=row.agent.deleted if row.agent else None,
            agent_type=row.key.get("agent_type"),
            provider=row.key.get("provider"),
            model=row.key.get("model") or None,
            payer=Payer(row.key["payer"]) if "payer" in row.key else None,
        )


class OpenCallsOut(Out):
    """Calls whose price is not known yet, at the worst that each may cost."""

    calls: int
    credits: int
    dollars: float | None = Field(description="Null where no price is known.")
    dollars_complete: bool

    @classmethod
    def of(cls, spent: Spent) -> "OpenCallsOut":
        figures = _figures(spent)
        return cls(**{name: figures[name] for name in ("calls", "credits", "dollars", "dollars_complete")})


class UsageReportOut(Out):
    """Calls by the UTC day on which they were begun."""

    since: date = Field(serialization_alias="from", description="The first day.")
    until: date = Field(serialization_alias="to", description="The last day.")
    group_by: list[Grouping]
    rows: list[UsageRowOut] = Field(description="What is spent: calls that were settled, or are unknown.")
    total: SpentOut = Field(description="Of all rows.")
    reserved: OpenCallsOut = Field(description="Under way; in no row and not in the total.")
    unknown: OpenCallsOut = Field(
        description="Nobody heard of them again; in the rows and the total until it is known better."
    )


class UsageQuery(In):
    since: Annotated[Day, Field(description="The first UTC day; of this month unless said.")] | None = Field(
        None, alias="from"
    )
    until: (
        Annotated[Day, Field(description="The last UTC day, at most 366 in all; today unless said.")] | None
    ) = Field(None, alias="to")
    group_by: Annotated[tuple[Grouping, ...], Field(max_length=6, description="Any of these.")] = (
        Grouping.DAY,
    )
    provider: Name | None = None
    agent_type: Name | None = None
    config_id: Annotated[str, Field(max_length=36, description="A saved agent, or one put away.")] | None = (
        None
    )
    model: Name | None = None
    payer: Annotated[Payer, Field(description="Whose key.")] | None = None


class UsageEntryOut(Out):
    """One paid call."""

    id: str
    created_at: datetime = Field(description="When it was booked, before it was made.")
    settled_at: datetime | None
    status: EntryStatus = Field(
        description="reserved: under way; settled: made; released: cost nothing; unknown: nobody heard of it again."
    )
    run_id: str
    step_key: str
    agent_config_id: str | None
    agent_type: str
    provider: str
    operation: str
    model: str | None
    payer: Payer = Field(description="Whose key: the tenant's own, or the installation's.")
    credits: int = Field(description="The most it may cost until it is settled, and while it is unknown.")
    dollars: float | None = Field(description="Likewise; null: nobody knows the model's price.")
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    tokens_reasoning: int
    provider_request_id: str | None
    error_code: str | None = Field(description="What became of a call that brought nothing.")

    @classmethod
    def of(cls, entry: UsageEntry) -> "UsageEntryOut":
        return cls(
            id=entry.id,
            created_at=entry.created_at,
            settled_at=entry.settled_at,
            status=EntryStatus(entry.status),
            run_id=entry.run_id,
            step_key=entry.step_key,
            agent_config_id=entry.agent_config_id,
            agent_type=entry.agent_type,
            provider=entry.provider,
            operation=entry.operation,
            model=entry.model,
            payer=Payer(entry.payer),
            credits=entry.credits,
            dollars=None if entry.dollars is None else float(entry.dollars),
            tokens_in=entry.tokens_in,
            tokens_cached=entry.tokens_cached,
            tokens_out=entry.tokens_out,
            tokens_reasoning=entry.tokens_reasoning,
            provider_request_id=entry.provider_request_id,
            error_code=entry.error_code,
        )


class EntryListing(Listing):
    run_id: Annotated[str, Field(max_length=36)] | None = None
    provider: Annotated[str, Field(max_length=50)] | None = None
    status: (
        Annotated[tuple[EntryStatus, ...], Field(min_length=1, max_length=4, description="Any of these.")]
        | None
    ) = None
    day: Annotated[Day, Field(description="The UTC day on which it was booked.")] | None = None


NEWEST = Keyset("usage-entries", tuple[Instant, str])


@route(
    "GET",
    "/v1/usage",
    needs=Permission.USAGE_READ,
    summary="What was spent, by day, agent, provider, model and whose key.",
    raises=(Invalid,),
)
def get_usage(work: Work, query: UsageQuery) -> UsageReportOut:
    told = usage.report(
        work,
        since=query.since,
        until=query.until,
        group_by=query.group_by,
        provider=query.provider,
        agent_type=query.agent_type,
        config_id=query.config_id,
        model=query.model,
        payer=query.payer,
    )
    return UsageReportOut(
        since=told.since,
        until=told.until,
        group_by=list(told.group_by),
        rows=[UsageRowOut.of_row(row) for row in told.rows],
        total=SpentOut.of(told.total),
        reserved=OpenCallsOut.of(told.under_way),
        unknown=OpenCallsOut.of(told.unknown),
    )


@route(
    "GET",
    "/v1/usage/entries",
    needs=Permission.USAGE_READ,
    summary="The ledger: every paid call, the newest first.",
)
def list_usage_entries(work: Work, query: EntryListing) -> Page[UsageEntryOut]:
    lines = queries.Lines(query.run_id, query.provider, query.status or (), query.day)
    found = queries.entries(
        work.session, work.actor.scope, lines, after=NEWEST.read(query.cursor), limit=query.limit
    )
    return page_of(NEWEST, found, limit=query.limit, item=UsageEntryOut.of)


def _figures(spent: Spent) -> dict[str, Any]:
    return {
        "calls": spent.calls,
        "unpriced_calls": spent.unpriced_calls,
        "credits": spent.credits,
        "dollars": None if spent.dollars is None else float(spent.dollars),
        "dollars_complete": spent.unpriced_calls == 0,
        "tokens_in": spent.tokens_in,
        "tokens_cached": spent.tokens_cached,
        "tokens_out": spent.tokens_out,
        "tokens_reasoning": spent.tokens_reasoning,
    }
