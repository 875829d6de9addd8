"""What an approval item of each type contains: checked at birth and again when a reviewer edits it.

At its longest, in any script, it fits the event that tells of its approval.
"""

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from chalicelib.domain.approvals import ItemType
from chalicelib.domain.errors import Invalid

_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text):
        raise ValueError("must be one line without control characters")
    return text


def _is_domain(text: str) -> str:
    text = text.lower()
    if not _DOMAIN.fullmatch(text):
        raise ValueError("must be a domain such as example.com")
    return text


Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), AfterValidator(_one_line)
]
Domain = Annotated[str, StringConstraints(max_length=253), AfterValidator(_is_domain)]
Link = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s<>\"']+$")]


class Content(BaseModel):
    """Plain data with camelCase names outside; unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,  # at the first use: most processes look at no content
    )


class LeadImport(Content):
    """A company to add to the CRM."""

    name: Line
    domain: Domain
    industry: Annotated[str, StringConstraints(max_length=100), AfterValidator(_one_line)] | None = None
    employee_count: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    annual_revenue: Annotated[int, Field(ge=0, le=10**14, description="US dollars")] | None = None
    city: Annotated[str, StringConstraints(max_length=100), AfterValidator(_one_line)] | None = None
    country: Annotated[str, StringConstraints(max_length=100), AfterValidator(_one_line)] | None = None
    description: Annotated[str, StringConstraints(max_length=2000)] | None = None
    technologies: Annotated[list[Annotated[Line, Field(max_length=100)]], Field(max_length=100)] = []
    linkedin_url: Link | None = None


class EmailDraft(Content):
    """An e-mail to one contact. The recipient is the item's contact, so it is no part of what can be edited."""

    subject: Line
    body: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]


SHAPES: Mapping[ItemType, type[Content]] = MappingProxyType(
    {
        ItemType.LEAD_IMPORT: LeadImport,
        ItemType.EMAIL_DRAFT: EmailDraft,
    }
)


def parse(item_type: ItemType, content: Mapping[str, Any], *, pointer: str = "") -> Content:
    """The content as its type's shape.

    Raises Invalid with a JSON pointer below `pointer` for the first thing wrong.
    """
    try:
        return SHAPES[item_type].model_validate(dict(content))
    except ValidationError as wrong:
        first = wrong.errors(include_url=False, include_context=False, include_input=False)[0]
        where = "".join(f"/{part}" for part in first["loc"])
        raise Invalid(first["msg"].removeprefix("Value error, "), pointer=pointer + where) from None


def dump(content: Content) -> dict[str, Any]:
    """As it is stored and sent: camelCase, nothing left out."""
    return content.model_dump(mode="json", by_alias=True)
