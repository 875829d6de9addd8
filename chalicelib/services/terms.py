"""On what terms providers are called, which a run's calls and an estimate of them have to agree on."""

from collections.abc import Mapping

from chalicelib.db.work import Work
from chalicelib.domain.money import Payer, Terms
from chalicelib.integrations.openai.client import REASONING_HEADROOM
from chalicelib.integrations.openai.prices import price_of
from chalicelib.settings import Settings


def terms_of(work: Work) -> Mapping[str, Terms]:
    """The tenant's, by provider."""
    return platform_terms(work.settings)


def platform_terms(settings: Settings) -> Mapping[str, Terms]:
    """With the installation's own keys."""
    return {
        "apollo": Terms(
            payer=Payer.PLATFORM,
            calls_per_minute=settings.apollo_rate_limit_per_minute,
            configured=settings.apollo_api_key is not None,
        ),
        "openai": Terms(
            payer=Payer.PLATFORM,
            price=price_of(
                settings.openai_default_model, settings.openai_base_url, listed=settings.openai_prices
            ),
            most_tokens_out=settings.openai_max_tokens + REASONING_HEADROOM,
            model=settings.openai_default_model,
            configured=settings.openai_api_key is not None,
        ),
    }
