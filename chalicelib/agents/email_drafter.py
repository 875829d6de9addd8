"""Drafts a cold e-mail to each of some contacts, from facts only, for a person to review."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, StringConstraints

from chalicelib.agents.base import (
    Agent,
    AgentModel,
    Call,
    Category,
    CrmReader,
    Expected,
    Proposal,
    RunContext,
    TriggerEvent,
)
from chalicelib.agents.prompts.base import Break, ask
from chalicelib.agents.prompts.email_draft import (
    DRAFT,
    LONGEST_SUBJECT,
    REDRAFT,
    Again,
    Context,
    Draft,
    check,
    facts,
    is_unusable,
)
from chalicelib.agents.prompts.text import count_words
from chalicelib.domain.content import EmailDraft
from chalicelib.domain.crm import ContactFacts
from chalicelib.domain.errors import CredentialRejected, OutOfCredit, ProviderBusy, ProviderFailed, Refused
from chalicelib.domain.ids import AccountId, ContactId

MOST_DRAFTS: Final = 2
"""Of one e-mail: what breaks a rule is written once more."""
MOST_CONTACTS: Final = 10_000
AT_ONCE: Final = 100
"""Contacts read from the CRM in one step."""

MEANT_FOR_THE_RUN: Final = (ProviderBusy, CredentialRejected, OutOfCredit)
"""What is no matter of one draft: the run waits, or ends."""

PainPoint = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Config(AgentModel):
    """Who writes, and what for."""

    product_value: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=10, max_length=500),
        Field(title="What your product does for them"),
    ]
    sender_name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
        Field(title="Sender's name"),
    ]
    sender_title: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
        Field(title="Sender's title"),
    ]
    pain_points: list[PainPoint] = Field(default_factory=list, max_length=10, title="Problems you solve")


class Input(AgentModel):
    """Whom to write to."""

    contact_ids: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^con_[0-9a-z]{26}$")]],
        Field(min_length=1, max_length=MOST_CONTACTS, title="Contacts"),
    ]


class Written(BaseModel):
    """A draft, as a step records it."""

    contactId: str  # noqa: N815 - as steps are shown
    prompt: str  # what it was asked with, such as `email-draft/1`
    draft: Draft


@dataclass(frozen=True, slots=True)
class Broken:
    """A draft that breaks rules, to be written again."""

    contact: ContactFacts
    first: Written


def run(run: RunContext, inputs: Input, config: Config) -> None:
    """One draft a contact, and once more where it breaks a rule; what still breaks one is proposed with flags.

    A contact without an address, or unknown, is told and left out.
    """
    wanted = list(dict.fromkeys(inputs.contact_ids))
    unknown: list[str] = []
    for first in range(0, len(wanted), AT_ONCE):
        some = wanted[first : first + AT_ONCE]
        contacts = run.look_up(
            f"contacts:{first}", partial(_contacts, some), returns=list[ContactFacts], inputs=some
        )
        unknown += sorted(set(some) - {contact.id for contact in contacts})
        _write_to(run, contacts, config)
    run.note(unknownContacts=unknown)


def _write_to(run: RunContext, contacts: Sequence[ContactFacts], config: Config) -> None:
    written = run.map(
        contacts,
        key=lambda contact: f"draft:{contact.id}",
        work=lambda call, contact: _draft(call, contact, config),
        returns=Written,
        pays=DRAFT.pays,
        propose=lambda contact, first: _if_faultless(contact, first, config),
    )
    by_id = {contact.id: contact for contact in contacts}
    run.map(
        [
            Broken(by_id[first.contactId], first)
            for first in written
            if _breaks(by_id[first.contactId], first, config)
        ],
        key=lambda broken: f"redraft:{broken.contact.id}",
        work=lambda call, broken: _redraft(call, broken, config),
        returns=Written,
        pays=REDRAFT.pays,
        propose=lambda broken, second: _proposal(broken.contact, second, config),
        counts=False,  # the contact is counted already
    )


def expects(config: Config, inputs: Input) -> list[Expected]:  # noqa: ARG001 - every agent's takes both
    """A draft a contact, at most two, each at the second one's worst: that one is told the first.

    The instructions and the facts are about 500 tokens, an e-mail 200, its reasoning as many.
    """
    contacts = len(set(inputs.contact_ids))
    return [
        Expected(
            REDRAFT.pays,
            likely=contacts,
            at_most=MOST_DRAFTS * contacts,
            items=True,
            tokens_in=500,
            tokens_out=400,
        )
    ]


def _contacts(wanted: list[str], crm: CrmReader) -> list[ContactFacts]:
    return crm.contacts(wanted)


def _input_of(events: Sequence[TriggerEvent]) -> dict[str, Any]:
    """Each contact that the events are about, once."""
    return {"contactIds": list(dict.fromkeys(event.aggregate_id for event in events))[:MOST_CONTACTS]}


def context_of(contact: ContactFacts, config: Config) -> Context:
    """What the prompt may know."""
    account = contact.account
    return Context(
        contact_name=f"{contact.first_name} {contact.last_name}",
        first_name=contact.first_name,
        contact_title=contact.title,
        company_name=account.name,
        industry=account.industry,
        company_description=account.description,
        recent_news=[signal.title.rstrip(".") for signal in account.signals],
        pain_points=config.pain_points,
        product_value=config.product_value,
        sender_name=config.sender_name,
        sender_title=config.sender_title,
    )


def _draft(call: Call, contact: ContactFacts, config: Config) -> Written:
    if not contact.email:
        raise Refused(
            f"{contact.first_name} {contact.last_name} has no e-mail address. Add one to the contact first.",
            code="no_address",
        )
    said = ask(call, DRAFT, context_of(contact, config))
    return Written(contactId=contact.id, prompt=said.prompt, draft=said.answer)


def _redraft(call: Call, broken: Broken, config: Config) -> Written:
    """The draft once more. Where nothing comes of it, the first one stays: it is paid for, and its flags are shown."""
    contact, first = broken.contact, broken.first
    again = Again(context_of(contact, config), first.draft, _breaks(contact, first, config))
    try:
        said = ask(call, REDRAFT, again)
    except MEANT_FOR_THE_RUN:
        raise
    except ProviderFailed:
        return first
    if is_unusable(said.answer):
        return first
    return Written(contactId=first.contactId, prompt=said.prompt, draft=said.answer)


def _breaks(contact: ContactFacts, written: Written, config: Config) -> list[Break]:
    return check(context_of(contact, config), written.draft)


def _if_faultless(contact: ContactFacts, written: Written, config: Config) -> Proposal | None:
    return None if _breaks(contact, written, config) else _proposal(contact, written, config)


def _proposal(contact: ContactFacts, written: Written, config: Config) -> Proposal:
    """The draft for a person to review, with the rules that it still breaks.

    Raises Refused for one that is no e-mail at all.
    """
    name = f"{contact.first_name} {contact.last_name}"
    draft, known = written.draft, facts(context_of(contact, config))
    if is_unusable(draft):
        raise Refused("The model wrote no e-mail that could be sent, twice.", code="unusable_draft")
    subject = " ".join(draft.subject.split())[:LONGEST_SUBJECT]
    return Proposal(
        content=EmailDraft(subject=subject, body=draft.body),
        title=f"E-mail to {name} at {contact.account.name}"[:255],
        description=subject,
        dedupe_key=f"email:{contact.id}",
        flags=[broken.as_flag() for broken in _breaks(contact, written, config)],
        account_id=AccountId(contact.account.id),
        contact_id=ContactId(contact.id),
        evidence={
            "contact": {"id": contact.id, "name": name, "title": contact.title},
            "company": {
                "id": contact.account.id,
                "name": contact.account.name,
                "domain": contact.account.domain,
            },
            "basedOn": [
                {"fact": key, "value": known[key]} for key in dict.fromkeys(draft.factsUsed) if key in known
            ],
            "words": count_words(draft.body),
            "prompt": written.prompt,
        },
    )


AGENT = Agent(
    type="email_drafter",
    name="Email Drafter Agent",
    description="Draft personalized cold emails for review",
    icon="Mail",
    category=Category.OUTREACH,
    version="2",
    config=Config,
    input=Input,
    run=run,
    reacts_to=frozenset({"crm.contact.created"}),
    input_of=_input_of,
    expects=expects,
)
