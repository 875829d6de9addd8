"""What the CRM tells agents."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chalicelib.db.queries import crm as queries
from chalicelib.db.work import Work
from chalicelib.domain.crm import AccountFacts, ContactFacts, SignalFacts


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
