"""What approved proposals became: accounts, contacts, e-mails."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import or_, select

from chalicelib.api.http import Out, Page, route
from chalicelib.api.listing import page_of
from chalicelib.api.pages import Keyset, Listing
from chalicelib.api.parsing import In, Line
from chalicelib.db.models.crm import Account, Contact
from chalicelib.db.models.outreach import OutreachEmail
from chalicelib.db.pages import Key, Slice, page
from chalicelib.db.queries import crm as queries
from chalicelib.db.work import Work
from chalicelib.domain.access import Permission
from chalicelib.domain.errors import Conflict, NotFound
from chalicelib.domain.ids import AccountId, ContactId, EmailId, is_id
from chalicelib.services import crm


class AccountOut(Out):
    """A company in the CRM."""

    id: str
    name: str
    domain: str
    industry: str | None
    employee_count: int | None
    annual_revenue: Decimal | None = Field(description="US dollars.")
    city: str | None
    country: str | None
    description: str | None
    technologies: list[str]
    linkedin_url: str | None
    source: str | None
    source_run_id: str | None
    source_item_id: str | None
    owner_id: str | None
    score: int | None
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Account) -> "AccountOut":
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class ContactOut(Out):
    """A person at an account."""

    id: str
    account_id: str
    first_name: str
    last_name: str
    title: str | None
    seniority: str | None
    department: str | None
    email: str | None
    email_status: str | None
    linkedin_url: str | None
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Contact) -> "ContactOut":
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class EmailOut(Out):
    """An approved e-mail, ready to send."""

    id: str
    account_id: str
    contact_id: str
    approval_item_id: str
    to_address: str
    subject: str
    body: str
    status: str
    content_hash: str = Field(description="SHA-256 of the approved content.")
    approved_by: str | None
    approved_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: OutreachEmail) -> "EmailOut":
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class NewContact(In):
    account_id: Annotated[str, Field(max_length=36)]
    first_name: Annotated[Line, Field(min_length=1, max_length=100)]
    last_name: Annotated[Line, Field(min_length=1, max_length=100)]
    title: Annotated[Line, Field(max_length=200)] | None = None
    email: (
        Annotated[Line, Field(max_length=254, pattern=r"^[^@\s<>,;]+@[^@\s<>,;]+\.[^@\s<>,;]+$")] | None
    ) = None


class AccountListing(Listing):
    search: Annotated[str, Field(max_length=100, description="Part of the name or the domain.")] | None = None
    run_id: Annotated[str, Field(max_length=36)] | None = None


class ContactListing(Listing):
    account_id: Annotated[str, Field(max_length=36)] | None = None
    search: Annotated[str, Field(max_length=100, description="Part of the name.")] | None = None


class EmailListing(Listing):
    contact_id: Annotated[str, Field(max_length=36)] | None = None


ACCOUNTS = Keyset("accounts", tuple[str])
CONTACTS = Keyset("contacts", tuple[str])
EMAILS = Keyset("emails", tuple[str])


@route("GET", "/v1/accounts", needs=Permission.CRM_READ, summary="Accounts, the newest first.")
def list_accounts(work: Work, query: AccountListing) -> Page[AccountOut]:
    wanted = select(Account).where(Account.customer_id == work.actor.scope)
    if query.search:
        wanted = wanted.where(
            or_(
                Account.name.icontains(query.search, autoescape=True),
                Account.domain.icontains(query.search, autoescape=True),
            )
        )
    if query.run_id:
        wanted = wanted.where(Account.source_run_id == query.run_id)
    return page_of(
        ACCOUNTS, _newest(work, wanted, Account, ACCOUNTS, query), limit=query.limit, item=AccountOut.of
    )


@route(
    "GET", "/v1/accounts/{account_id}", needs=Permission.CRM_READ, summary="One account.", raises=(NotFound,)
)
def get_account(work: Work, account_id: AccountId) -> AccountOut:
    return AccountOut.of(queries.get_account(work.session, work.actor.scope, account_id))


@route("GET", "/v1/contacts", needs=Permission.CRM_READ, summary="Contacts, the newest first.")
def list_contacts(work: Work, query: ContactListing) -> Page[ContactOut]:
    wanted = select(Contact).where(Contact.customer_id == work.actor.scope)
    if query.account_id:
        wanted = wanted.where(Contact.account_id == query.account_id)
    if query.search:
        whole = Contact.first_name + " " + Contact.last_name
        wanted = wanted.where(whole.icontains(query.search, autoescape=True))
    return page_of(
        CONTACTS, _newest(work, wanted, Contact, CONTACTS, query), limit=query.limit, item=ContactOut.of
    )


@route(
    "POST",
    "/v1/contacts",
    needs=Permission.CRM_WRITE,
    summary="Add a contact to an account.",
    status=201,
    idempotent=True,
    raises=(NotFound, Conflict),
)
def add_contact(work: Work, body: NewContact) -> ContactOut:
    if not is_id("AccountId", body.account_id):
        raise NotFound("There is no such account.")
    values = body.model_dump(exclude={"account_id"})
    return ContactOut.of(crm.add_contact(work, account_id=body.account_id, values=values))


@route(
    "GET", "/v1/contacts/{contact_id}", needs=Permission.CRM_READ, summary="One contact.", raises=(NotFound,)
)
def get_contact(work: Work, contact_id: ContactId) -> ContactOut:
    return ContactOut.of(queries.get_contact(work.session, work.actor.scope, contact_id))


@route("GET", "/v1/emails", needs=Permission.CRM_READ, summary="E-mails ready to send, the newest first.")
def list_emails(work: Work, query: EmailListing) -> Page[EmailOut]:
    wanted = select(OutreachEmail).where(OutreachEmail.customer_id == work.actor.scope)
    if query.contact_id:
        wanted = wanted.where(OutreachEmail.contact_id == query.contact_id)
    return page_of(
        EMAILS, _newest(work, wanted, OutreachEmail, EMAILS, query), limit=query.limit, item=EmailOut.of
    )


@route("GET", "/v1/emails/{email_id}", needs=Permission.CRM_READ, summary="One e-mail.", raises=(NotFound,))
def get_email(work: Work, email_id: EmailId) -> EmailOut:
    return EmailOut.of(queries.get_email(work.session, work.actor.scope, email_id))


def _newest(work: Work, wanted: Any, model: Any, keyset: Keyset[Any], query: Listing) -> Slice:
    order = [Key(model.id, descending=True)]
    return page(work.session, wanted, order=order, after=keyset.read(query.cursor), limit=query.limit)
