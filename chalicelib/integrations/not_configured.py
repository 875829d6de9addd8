"""A provider without a key."""

from dataclasses import dataclass
from typing import Any, NoReturn

from chalicelib.domain.errors import CredentialRejected


@dataclass(frozen=True, slots=True)
class NotConfigured:
    """A provider nobody has given a key for; every call says so."""

    provider: str

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise CredentialRejected(
            f"No {self.provider} API key configured. An administrator can add one under Integrations.",
            code="not_configured",
        )

    search = enrich = enrich_many = _refuse
    search_people = match = match_many = _refuse
    usage = credits = _refuse
    answer = _refuse
