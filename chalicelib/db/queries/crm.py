"""Every statement on accounts, contacts, signals and e-mails."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from chalicelib.db.models.crm import Account, Contact
from chalicelib.db.models.outreach import OutreachEmail
from chalicelib.db.pages import one
from chalicelib.domain.ids import TenantScope

_KNOWN_DOMAINS = text("""
    SELECT a.domain FROM accounts a WHERE a.customer_id = :scope AND a.domain = ANY(:domains)
    UNION
    SELECT substr(i.dedupe_key, length('lead:') + 1) FROM approval_items i
    WHERE i.customer_id = :scope AND i.dedupe_key = ANY(:keys)
      AND i.status IN ('pending', 'approved', 'edited', 'rejected')
    ORDER BY 1
""")
_ACCOUNT_COLUMNS = """
    a.id AS account_id, a.name AS account_name, a.domain, a.industry, a.employee_count, a.country, a.description,
    a.owner_id,
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'kind', s.kind, 'title', s.title, 'source', s.source,
                'observed_on', to_char(s.observed_at, 'YYYY-MM-DD')
            ) ORDER BY s.observed_at DESC), '[]')
     FROM (SELECT * FROM intent_signals s WHERE s.customer_id = :scope AND s.account_id = a.id
           ORDER BY s.observed_at DESC LIMIT 10) s) AS signals
"""
_CONTACTS = text(f"""
    SELECT c.id, c.first_name, c.last_name, c.title, c.email, {_ACCOUNT_COLUMNS}
    FROM contacts c JOIN accounts a ON a.customer_id = c.customer_id AND a.id = c.account_id
    WHERE c.customer_id = :scope AND c.id = ANY(:ids)
    ORDER BY c.id
""")  # noqa: S608 - the columns are a constant of this file
_ACCOUNTS = text(f"""
    SELECT {_ACCOUNT_COLUMNS} FROM accounts a WHERE a.customer_id = :scope AND a.id = ANY(:ids) ORDER BY a.id
""")  # noqa: S608 - the columns are a constant of this file
_UPSERT_ACCOUNTS = text("""
    INSERT INTO accounts AS a (
        id, customer_id, name, domain, industry, employee_count, annual_revenue, city, country, description,
        technologies, linkedin_url, source, source_ref, source_run_id, source_item_id, owner_id
    )
    SELECT new_id('acc'), :scope, n.name, n.domain, n.industry, n.employee_count, n.annual_revenue, n.city, n.country,
           n.description, n.technologies, n.linkedin_url, n.source, n.source_ref, n.run_id, n.item_id, n.owner_id
    FROM jsonb_to_recordset(CAST(:leads AS jsonb)) AS n(
        name text, domain text, industry text, employee_count int, annual_revenue numeric, city text, country text,
        description text, technologies jsonb, linkedin_url text, source text, source_ref text, run_id text,
        item_id text, owner_id text
    )
    ORDER BY n.domain
    ON CONFLICT (customer_id, domain) DO UPDATE SET
        industry = coalesce(a.industry, excluded.industry),
        employee_count = coalesce(a.employee_count, excluded.employee_count),
        annual_revenue = coalesce(a.annual_revenue, excluded.annual_revenue),
        city = coalesce(a.city, excluded.city),
        country = coalesce(a.country, excluded.country),
        description = coalesce(a.description, excluded.description),
        technologies = CASE WHEN a.technologies = '[]' THEN excluded.technologies ELSE a.technologies END,
        linkedin_url = coalesce(a.linkedin_url, excluded.linkedin_url),
        version = a.version + 1, updated_at = app_now()
    RETURNING a.id, a.domain, a.version = 1 AS created
""")
_READY_EMAILS = text("""
    INSERT INTO outreach_emails (
        id, customer_id, account_id, contact_id, approval_item_id, to_address, subject, body, content_hash,
        approved_by, approved_at
    )
    SELECT new_id('eml'), :scope, c.account_id, c.id, n.item_id, c.email, n.subject, n.body, n.content_hash,
           n.approved_by, n.approved_at
    FROM jsonb_to_recordset(CAST(:emails AS jsonb)) AS n(
        item_id text, contact_id text, subject text, body text, content_hash text, approved_by text,
        approved_at timestamptz
    )
    JOIN contacts c ON c.customer_id = :scope AND c.id = n.contact_id AND c.email IS NOT NULL
    RETURNING id, approval_item_id, account_id, contact_id
""")


def known_domains(session: Session, scope: TenantScope, domains: Sequence[str]) -> list[str]:
    """Those that are an account, wait as a lead, or were rejected once."""
    keys = [f"lead:{domain}" for domain in domains]
    parameters = {"scope": scope, "domains": list(domains), "keys": keys}
    return list(session.execute(_KNOWN_DOMAINS, parameters).scalars())


def contacts(session: Session, scope: TenantScope, ids: Sequence[str]) -> Sequence[Row[Any]]:
    """Contacts with their accounts and the accounts' latest signals."""
    return session.execute(_CONTACTS, {"scope": scope, "ids": list(ids)}).all()


def accounts(session: Session, scope: TenantScope, ids: Sequence[str]) -> Sequence[Row[Any]]:
    return session.execute(_ACCOUNTS, {"scope": scope, "ids": list(ids)}).all()


def upsert_accounts(
    session: Session, scope: TenantScope, leads: Sequence[Mapping[str, Any]]
) -> dict[str, Row[Any]]:
    """Create accounts, or fill in what is blank on those there are. What a person wrote stays. By domain."""
    rows = session.execute(_UPSERT_ACCOUNTS, {"scope": scope, "leads": json.dumps(leads)})
    return {row.domain: row for row in rows}


def insert_emails(
    session: Session, scope: TenantScope, emails: Sequence[Mapping[str, Any]]
) -> dict[str, Row[Any]]:
    """E-mails ready to send, addressed from the contacts' own rows; by approval item. A contact that is gone
    or has no address gets none.
    """
    rows = session.execute(_READY_EMAILS, {"scope": scope, "emails": json.dumps(emails)})
    return {row.approval_item_id: row for row in rows}


def get_account(session: Session, scope: TenantScope, account_id: str) -> Account:
    return one(session, Account, scope, account_id, "account")


def get_contact(session: Session, scope: TenantScope, contact_id: str) -> Contact:
    return one(session, Contact, scope, contact_id, "contact")


def get_email(session: Session, scope: TenantScope, email_id: str) -> OutreachEmail:
    return one(session, OutreachEmail, scope, email_id, "e-mail")
