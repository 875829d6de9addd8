"""The demo's customers and people. Their passwords are no secrets: they exist on this machine only."""

import hashlib
from dataclasses import dataclass
from typing import Final

from chalicelib.domain.access import Role
from chalicelib.domain.ids import PREFIXES

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_BORN_MS: Final = 1_767_225_600_000  # 2026-01-01; the ids sort before those of anything made later


@dataclass(frozen=True, slots=True)
class Tenant:
    key: str
    name: str
    plan: str
    time_zone: str
    undo_window_seconds: int

    @property
    def id(self) -> str:
        return fixed_id("CustomerId", self.key)


@dataclass(frozen=True, slots=True)
class Person:
    tenant: Tenant
    name: str
    email: str
    password: str
    role: Role

    @property
    def id(self) -> str:
        return fixed_id("UserId", self.email)


def fixed_id(kind: str, name: str) -> str:
    """An identifier of a kind that is the same at each start: a UUIDv7 whose chance comes from the name."""
    chance = int.from_bytes(hashlib.sha256(f"{kind}:{name}".encode()).digest()[:10])
    number = _BORN_MS << 80 | 0x7 << 76 | (chance >> 64 & 0xFFF) << 64 | 0b10 << 62 | chance & (1 << 62) - 1
    digits = [_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{PREFIXES[kind]}_{''.join(digits)}"


NORTHWIND = Tenant("northwind", "Northwind Robotics", "starter", "Europe/Berlin", 10)
FABRIKAM = Tenant("fabrikam", "Fabrikam Freight", "starter", "Europe/Amsterdam", 10)
TENANTS = (NORTHWIND, FABRIKAM)

ADMIN = Person(NORTHWIND, "Northwind Admin", "admin@northwind.example", "Northwind-Admin-1", Role.ADMIN)
MANAGER = Person(
    NORTHWIND, "Northwind Manager", "manager@northwind.example", "Northwind-Manager-1", Role.MANAGER
)
REP_NORTH = Person(NORTHWIND, "Rep North", "rep.north@northwind.example", "Northwind-North-1", Role.SALES_REP)
REP_SOUTH = Person(NORTHWIND, "Rep South", "rep.south@northwind.example", "Northwind-South-1", Role.SALES_REP)
VIEWER = Person(NORTHWIND, "Northwind Viewer", "viewer@northwind.example", "Northwind-Viewer-1", Role.VIEWER)
OTHER_ADMIN = Person(FABRIKAM, "Fabrikam Admin", "admin@fabrikam.example", "Fabrikam-Admin-1", Role.ADMIN)
OTHER_MANAGER = Person(
    FABRIKAM, "Fabrikam Manager", "manager@fabrikam.example", "Fabrikam-Manager-1", Role.MANAGER
)
PEOPLE = (ADMIN, MANAGER, REP_NORTH, REP_SOUTH, VIEWER, OTHER_ADMIN, OTHER_MANAGER)
