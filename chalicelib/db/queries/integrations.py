"""Every statement on tenants' credentials. Their envelopes are compared, never looked into."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from chalicelib.db.driver import execute_and_commit
from chalicelib.db.models.edge import IntegrationCredential
from chalicelib.db.models.tenant import Customer
from chalicelib.domain.ids import CredentialId, TenantScope
from chalicelib.domain.integrations import CredentialStatus, Provider

_FOR_RUNS = text("""
    SELECT c.plan, i.id, i.provider, i.credentials, i.options, i.version
    FROM customers c LEFT JOIN integration_credentials i ON i.customer_id = c.id
    WHERE c.id = :scope
""")
_TENANTS = text("""
    SELECT DISTINCT customer_id FROM integration_credentials
    WHERE customer_id > :after ORDER BY customer_id LIMIT :most
""")


def get(session: Session, scope: TenantScope, provider: Provider) -> IntegrationCredential | None:
    return session.scalar(
        select(IntegrationCredential).where(
            IntegrationCredential.customer_id == scope, IntegrationCredential.provider == provider
        )
    )


def of_tenant(session: Session, scope: TenantScope) -> dict[str, IntegrationCredential]:
    """By provider."""
    found = session.scalars(select(IntegrationCredential).where(IntegrationCredential.customer_id == scope))
    return {row.provider: row for row in found}


def plan_of(session: Session, scope: TenantScope) -> str:
    return session.scalars(select(Customer.plan).where(Customer.id == scope)).one()


def for_runs(session: Session, scope: TenantScope) -> Sequence[Row[Any]]:
    """The tenant's plan and credentials, and commit, in one flight. A tenant without any has one row of nulls."""
    return execute_and_commit(session, _FOR_RUNS, {"scope": scope}).all()


def of_a_tenant(session: Session, scope: TenantScope) -> Sequence[Row[Any]]:
    """The same in a transaction that goes on."""
    return session.execute(_FOR_RUNS, {"scope": scope}).all()


def add(session: Session, scope: TenantScope, values: dict[str, Any]) -> IntegrationCredential:
    """Raises IntegrityError when another one was added meanwhile."""
    return session.scalars(
        insert(IntegrationCredential).values(customer_id=scope, **values).returning(IntegrationCredential)
    ).one()


def change(
    session: Session, scope: TenantScope, credential_id: CredentialId, *, version: int, values: dict[str, Any]
) -> IntegrationCredential | None:
    """Write what the tenant saved, if nobody else did since `version`; None otherwise."""
    return session.scalar(
        update(IntegrationCredential)
        .where(
            IntegrationCredential.customer_id == scope,
            IntegrationCredential.id == credential_id,
            IntegrationCredential.version == version,
        )
        .values(**values, version=IntegrationCredential.version + 1, updated_at=func.app_now())
        .returning(IntegrationCredential)
        .execution_options(populate_existing=True)
    )


def judge(
    session: Session,
    scope: TenantScope,
    credential_id: CredentialId,
    *,
    version: int,
    status: CredentialStatus,
    reason: str | None,
) -> IntegrationCredential | None:
    """Note what the provider said of this version of the key; None when it is another one by now."""
    return session.scalar(
        update(IntegrationCredential)
        .where(
            IntegrationCredential.customer_id == scope,
            IntegrationCredential.id == credential_id,
            IntegrationCredential.version == version,
        )
        .values(status=status, failure_reason=reason, last_verified_at=func.app_now())
        .returning(IntegrationCredential)
        .execution_options(populate_existing=True)
    )


def fail(session: Session, scope: TenantScope, credential_id: str, *, version: int, reason: str) -> bool:
    """Note that a run met a refusal of this version; False when that is known, or it is another by now."""
    return (
        session.scalar(
            update(IntegrationCredential)
            .where(
                IntegrationCredential.customer_id == scope,
                IntegrationCredential.id == credential_id,
                IntegrationCredential.version == version,
                IntegrationCredential.status != CredentialStatus.FAILED,
            )
            .values(status=CredentialStatus.FAILED, failure_reason=reason)
            .returning(IntegrationCredential.id)
        )
        is not None
    )


def remove(session: Session, scope: TenantScope, provider: Provider, *, version: int) -> str | None:
    """Delete if nobody changed it since `version`. Its id; None otherwise."""
    return session.scalar(
        delete(IntegrationCredential)
        .where(
            IntegrationCredential.customer_id == scope,
            IntegrationCredential.provider == provider,
            IntegrationCredential.version == version,
        )
        .returning(IntegrationCredential.id)
    )


# Rotation


def tenants_after(session: Session, after: str, *, most: int) -> list[str]:
    """Tenants with credentials, in the order of their ids; as bevyly_system."""
    return list(session.execute(_TENANTS, {"after": after, "most": most}).scalars())


def sealed(session: Session, scope: TenantScope) -> Sequence[Any]:
    """Id, provider and envelope of each."""
    return session.execute(
        select(
            IntegrationCredential.id, IntegrationCredential.provider, IntegrationCredential.credentials
        ).where(IntegrationCredential.customer_id == scope)
    ).all()


def replace_envelope(
    session: Session, scope: TenantScope, credential_id: str, *, seen: str, new: str
) -> bool:
    """Put the re-wrapped envelope in the place of the one it was made from; False when that is gone."""
    return (
        session.scalar(
            update(IntegrationCredential)
            .where(
                IntegrationCredential.customer_id == scope,
                IntegrationCredential.id == credential_id,
                IntegrationCredential.credentials == seen,
            )
            .values(credentials=new)
            .returning(IntegrationCredential.id)
        )
        is not None
    )
