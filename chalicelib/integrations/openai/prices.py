"""What OpenAI's models cost, as far as we know. A model that is not here costs nobody knows what, never nothing."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from chalicelib.domain.money import ModelPrice

AS_OF: Final = date(2026, 11, 1)
PRICES: Final[Mapping[str, ModelPrice]] = MappingProxyType(
    {
        "gpt-6-luna": ModelPrice(
            tokens_in=Decimal("0.10"), tokens_cached=Decimal("0.10"), tokens_out=Decimal("0.50")
        )
    }
)
"""US dollars a million tokens. Cached ones are booked at the full price where no other is known."""
