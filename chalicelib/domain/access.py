"""Who may do what.

Code asks for a permission, never for a role. A right may be limited to a person's own items: that is
`Actor.only_own`, and the queries take it as a condition.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from chalicelib.domain.errors import NotPermitted
from chalicelib.domain.ids import CustomerId, TenantScope, UserId

SIGN_IN_WINDOW: Final = timedelta(minutes=15)
"""Tries to sign in are counted for so long."""

LONGEST_EMAIL: Final = 254
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")


class Permission(StrEnum):
    AGENTS_DELETE = "agents:delete"
    AGENTS_EXECUTE = "agents:execute"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    APPROVALS_READ = "approvals:read"
    APPROVALS_WRITE = "approvals:write"
    AUDIT_READ = "audit:read"
    BUDGETS_WRITE = "budgets:write"
    CRM_READ = "crm:read"
    CRM_WRITE = "crm:write"
    EVENTS_READ = "events:read"
    EVENTS_REPLAY = "events:replay"
    INTEGRATIONS_READ = "integrations:read"
    INTEGRATIONS_WRITE = "integrations:write"
    RULES_WRITE = "rules:write"
    SETTINGS_WRITE = "settings:write"
    USAGE_READ = "usage:read"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    WEBHOOKS_WRITE = "webhooks:write"


class Role(StrEnum):
    ADMIN = "ADMIN"
    MANAGER = "MANAGER"
    SALES_REP = "SALES_REP"
    VIEWER = "VIEWER"


P = Permission
_VIEWER = frozenset({P.AGENTS_READ, P.APPROVALS_READ, P.CRM_READ, P.USAGE_READ})
_SALES_REP = _VIEWER | {P.APPROVALS_WRITE}
_MANAGER = _SALES_REP | {
    P.AGENTS_WRITE,
    P.AGENTS_EXECUTE,
    P.CRM_WRITE,
    P.RULES_WRITE,
    P.INTEGRATIONS_READ,
    P.EVENTS_READ,
    P.USERS_READ,
}
GRANTS: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.VIEWER: _VIEWER,
        Role.SALES_REP: _SALES_REP,
        Role.MANAGER: _MANAGER,
        Role.ADMIN: frozenset(Permission),
    }
)

OWN_ONLY: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.SALES_REP: frozenset({P.APPROVALS_WRITE}),
    }
)
"""Rights that reach a person's own items only."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a signed-in person, or (with no user) the engine itself for a tenant."""

    customer_id: CustomerId
    user_id: UserId | None
    role: Role | None
    name: str = ""
    email: str = ""

    @property
    def scope(self) -> TenantScope:
        """The tenant whose rows this actor may see."""
        return TenantScope(self.customer_id)

    @property
    def permissions(self) -> frozenset[Permission]:
        return GRANTS[self.role] if self.role else frozenset()

    def need(self, permission: Permission) -> None:
        """Raise NotPermitted unless the actor has the permission."""
        if permission not in self.permissions:
            raise NotPermitted(
                f"Your role does not include {permission}. Ask an administrator of your team.",
                details={"permission": permission.value, "role": self.role.value if self.role else None},
            )

    def only_own(self, permission: Permission) -> bool:
        """Whether this right reaches only what the person owns."""
        return self.role is not None and permission in OWN_ONLY.get(self.role, frozenset())


def plausible_email(text: str) -> str:
    """In lower case, as everybody signs in. Raises ValueError for what can be no address."""
    email = text.lower()  # which makes some letters two
    if len(email) > LONGEST_EMAIL or not email.isprintable() or not _EMAIL.fullmatch(email):
        raise ValueError("must be an e-mail address")
    return email


def engine_for(customer_id: CustomerId) -> Actor:
    """The run engine, acting inside one tenant on nobody's behalf."""
    return Actor(customer_id=customer_id, user_id=None, role=None, name="engine")
