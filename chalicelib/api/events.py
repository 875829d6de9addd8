"""What was published, where it arrived, and what is stuck."""

from collections import defaultdict
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import select

from chalicelib.api.http import Out, Page, route
from chalicelib.api.listing import page_of
from chalicelib.api.pages import Keyset, Listing
from chalicelib.api.parsing import Big
from chalicelib.db.models.event import OutboxEvent
from chalicelib.db.pages import Key, page
from chalicelib.db.queries import outbox as queries
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import Conflict, NotFound
from chalicelib.domain.ids import EventId
from chalicelib.services.outbox import send_again


class DeliveryOut(Out):
    """An event's fate at one sink."""

    sink: str
    status: str = Field(description="pending, delivered or parked")
    attempts: int
    error: str | None
    delivered_at: datetime | None


class EventOut(Out):
    """One fact about one aggregate."""

    id: str
    type: str
    aggregate_type: str
    aggregate_id: str
    sequence: int = Field(description="1, 2, 3 … within its aggregate.")
    payload: dict[str, Any]
    created_at: datetime
    deliveries: list[DeliveryOut]


class EventListing(Listing):
    type: Annotated[str, Field(max_length=50)] | None = None
    aggregate_id: Annotated[str, Field(max_length=36)] | None = None


class RedeliveryOut(Out):
    sinks: list[str]


NEWEST = Keyset("events", tuple[Big])


@route("GET", "/v1/events", needs=Permission.EVENTS_READ, summary="Events, the newest first.")
def list_events(work: Work, query: EventListing) -> Page[EventOut]:
    wanted = select(OutboxEvent).where(OutboxEvent.customer_id == work.actor.scope)
    if query.type:
        wanted = wanted.where(OutboxEvent.event_type == query.type)
    if query.aggregate_id:
        wanted = wanted.where(OutboxEvent.aggregate_id == query.aggregate_id)
    order = [Key(OutboxEvent.position, descending=True)]
    found = page(work.session, wanted, order=order, after=NEWEST.read(query.cursor), limit=query.limit)
    deliveries = defaultdict(list)
    for row in queries.deliveries(work.session, work.actor.scope, [event.id for event in found.rows]):
        deliveries[row.event_id].append(
            DeliveryOut(
                sink=row.sink,
                status=row.status,
                attempts=row.attempts,
                error=row.error,
                delivered_at=row.delivered_at,
            )
        )

    def shown(event: OutboxEvent) -> EventOut:
        return EventOut(
            id=event.id,
            type=event.event_type,
            aggregate_type=event.aggregate_type,
            aggregate_id=event.aggregate_id,
            sequence=event.sequence,
            payload=event.payload,
            created_at=event.created_at,
            deliveries=deliveries[event.id],
        )

    return page_of(NEWEST, found, limit=query.limit, item=shown)


@route(
    "POST",
    "/v1/events/{event_id}/redeliver",
    needs=Permission.EVENTS_REPLAY,
    summary="Send a parked event again.",
    status=202,
    raises=(NotFound, Conflict),
)
def redeliver_event(work: Work, event_id: EventId) -> RedeliveryOut:
    return RedeliveryOut(sinks=send_again(work, event_id))
