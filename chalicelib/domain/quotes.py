"""What each kind of call to Apollo.io may cost at worst, for an agent's `pays`.

Each endpoint is an operation of its own, since Apollo counts their calls apart.
"""

from typing import Final

from chalicelib.domain.money import Quote

PERSON_CREDITS: Final = 1
MOBILE_CREDITS: Final = 8
"""On top of the person's own, when a mobile number comes."""

SEARCH_COMPANIES: Final = Quote(provider="apollo", operation="search_companies", credits=1)
ENRICH_COMPANY: Final = Quote(provider="apollo", operation="enrich_company", credits=1)
SEARCH_PEOPLE: Final = Quote(provider="apollo", operation="search_people")
MATCH_PERSON: Final = Quote(provider="apollo", operation="match_person", credits=PERSON_CREDITS)
MATCH_PERSON_WITH_MOBILE: Final = Quote(
    provider="apollo", operation="match_person", credits=PERSON_CREDITS + MOBILE_CREDITS
)


def enrich_companies(number: int) -> Quote:
    """One call for so many companies."""
    return Quote(provider="apollo", operation="enrich_companies", credits=number)


def match_people(number: int, *, mobile: bool = False) -> Quote:
    """One call for so many people; with `mobile`, each may come with a number."""
    each = PERSON_CREDITS + (MOBILE_CREDITS if mobile else 0)
    return Quote(provider="apollo", operation="match_people", credits=number * each)
