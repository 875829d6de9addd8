"""Contacts that people add, and what the CRM tells agents."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import IntegrityError

from chalicelib.db.driver import constraint
from chalicelib.db.models.crm import Contact
from chalicelib.db.queries import crm as queries
from chalicelib.db.work import Work
from chalicelib.domain.crm import AccountFacts, ContactFacts, SignalFacts
from chalicelib.domain.errors import Conflict
from chalicelib.domain.events import Event, EventType
from chalicelib.domain.ids import new_id


def add_contact(work: Work, *, account_id: str, values: Mapping[str, Any]) -> Contact:
    """A new contact at one of the tenant's accounts.

    Raises NotFound for an account that is not there, Conflict where the address is somebody's already.
    """
    queries.get_account(work.session, work.actor.scope, account_id)
    contact = Contact(
        id=new_id("ContactId"),
        customer_id=work.actor.customer_id,
        account_id=account_id,
        source="person",
        version=1,
        created_at=work.now,
        updated_at=work.now,
        **values,
    )
    work.session.add(contact)
    try:
        work.session.flush()
    except IntegrityError as error:
        if constraint(error) != "contacts_email_key":
            raise
        raise Conflict("Another contact has this e-mail address already.", code="address_taken") from None
    payload = {"contactId": contact.id, "accountId": account_id}
    work.emit(Event(EventType.CONTACT_CREATED, "contact", contact.id, payload))
    work.audit("contact.created", contact.id)
    return contact


@dataclass(frozen=True, slots=True)
class Reader:
    """Implements CrmReader within one transaction."""

    work: Work

    def known_domains(self, domains: Iterable[str]) -> list[str]:
        return queries.known_domains(self.work.session, self.work.actor.scope, list(domains))

    def contacts(self, contact_ids: Iterable[str]) -> list[ContactFacts]:
        rows = queries.contacts(self.work.session, self.work.actor.scope, list(contact_ids))
        return [
            ContactFacts(row.id, row.first_name, row.last_name, row.title, row.email, _account(row))
            for row in rows
        ]

    def accounts(self, account_ids: Iterable[str]) -> list[AccountFacts]:
        rows = queries.accounts(self.work.session, self.work.actor.scope, list(account_ids))
        return [_account(row) for row in rows]


def _account(row: Any) -> AccountFacts:
    return AccountFacts(
        id=row.account_id,
        name=row.account_name,
        domain=row.domain,
        industry=row.industry,
        employee_count=row.employee_count,
        country=row.country,
        description=row.description,
        owner_id=row.owner_id,
        signals=tuple(SignalFacts(**signal) for signal in row.signals),
    )
