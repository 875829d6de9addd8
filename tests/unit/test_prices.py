"""What a model costs at which address, and what the setting that adds prices may say."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.money import Charge, ModelPrice, PriceList, Quote, Terms
from chalicelib.integrations.openai.prices import AS_OF, PRICES, price_of
from chalicelib.settings import MissingSetting, Settings

OPENAI = "https://api.openai.com/v1"
OLLAMA = "http://127.0.0.1:11434/v1"
CHEAP = ModelPrice(Decimal(1), Decimal(1), Decimal(2))
REQUIRED = {
    "DATABASE_URL": "x",
    "DATABASE_SYSTEM_URL": "x",
    "OIDC_ISSUER": "x",
    "OIDC_JWKS_URL": "x",
    "OIDC_CLIENT_ID": "x",
}


def listed(base_url: str, **prices: ModelPrice) -> PriceList:
    return PriceList(
        base_url, date(2026, 11, 2), {name.replace("_", "-"): price for name, price in prices.items()}
    )


def settings(prices: str, as_of: str = "2026-11-02", **more: str) -> Settings:
    return Settings.from_environ({**REQUIRED, "OPENAI_PRICES": prices, "OPENAI_PRICES_AS_OF": as_of, **more})


# Where a price holds


@pytest.mark.parametrize(
    "address",
    [OPENAI, "https://api.openai.com/v1/", "https://eu.api.openai.com/v1", "HTTPS://API.OPENAI.COM/v1"],
)
def test_openais_own_prices_hold_at_openai(address: str) -> None:
    assert price_of("gpt-6-luna", address) == PRICES["gpt-6-luna"]


@pytest.mark.parametrize(
    "address",
    [
        OLLAMA,
        "https://api.openai.com.evil.example/v1",
        "https://evil.example/api.openai.com/v1",
        "https://api.openai.com@evil.example/v1",
        "https://notapi.openai.com/v1",
        "",
        "http://[",
        "http://api.openai.com:port/v1",
    ],
)
def test_a_model_of_the_same_name_elsewhere_costs_nobody_knows_what(address: str) -> None:
    """Seen red with prices looked up by name alone."""
    if not address.startswith("http://api.openai.com:"):
        assert price_of("gpt-6-luna", address) is None
    assert price_of("unheard-of", address) is None


def test_an_unknown_model_costs_unknown_and_never_nothing() -> None:
    price = price_of("gpt-7", OPENAI)
    assert price is None
    terms = Terms(price=price, most_tokens_out=100)
    assert terms.worst(Quote("openai", "complete", most_tokens_in=10)) is None
    assert terms.cost(Charge(tokens_in=10, tokens_out=1)) is None


def test_the_installations_list_holds_at_its_own_address_and_goes_first() -> None:
    here = listed(OLLAMA, llama=CHEAP, gpt_6_luna=CHEAP)
    assert price_of("llama", OLLAMA, listed=here) == CHEAP
    assert price_of("llama", "http://127.0.0.1:11434/v1/", listed=here) == CHEAP
    assert price_of("llama", "http://127.0.0.1:11435/v1", listed=here) is None
    assert price_of("llama", "https://127.0.0.1:11434/v1", listed=here) is None
    assert price_of("llama", OPENAI, listed=here) is None
    assert price_of("gpt-6-luna", OPENAI, listed=here) == PRICES["gpt-6-luna"]
    at_openai = listed(OPENAI, gpt_6_luna=CHEAP, gpt_7=CHEAP)
    assert price_of("gpt-6-luna", OPENAI, listed=at_openai) == CHEAP
    assert price_of("gpt-7", "https://eu.api.openai.com/v1", listed=at_openai) == CHEAP
    assert price_of("gpt-7", OLLAMA, listed=at_openai) is None


def test_a_default_port_is_the_same_address() -> None:
    assert (
        price_of("m", "https://models.example:443/v1", listed=listed("https://models.example/v1", m=CHEAP))
        == CHEAP
    )


def test_what_the_owner_declares_goes_before_all() -> None:
    declared = ModelPrice(Decimal(0), Decimal(0), Decimal(0))
    assert price_of("gpt-6-luna", OPENAI, declared=declared) == declared
    assert price_of("anything", OLLAMA, declared=declared, listed=listed(OLLAMA, anything=CHEAP)) == declared


def test_the_table_has_a_day_and_prices_that_are_some() -> None:
    assert date(2026, 1, 1) < AS_OF
    assert all(price.tokens_out > price.tokens_in >= price.tokens_cached > 0 for price in PRICES.values())


# The setting


def test_the_setting_names_models_at_the_settings_address() -> None:
    told = settings("gpt-7=1.25/0.125/10, org/model:8b=0/0", OPENAI_BASE_URL=OLLAMA).openai_prices
    assert told == PriceList(
        OLLAMA,
        date(2026, 11, 2),
        {
            "gpt-7": ModelPrice(Decimal("1.25"), Decimal("0.125"), Decimal(10)),
            "org/model:8b": ModelPrice(Decimal(0), Decimal(0), Decimal(0)),
        },
    )
    assert settings("a=1/2").openai_prices == PriceList(OPENAI, date(2026, 11, 2), {"a": CHEAP})
    assert settings("", "").openai_prices is None


@pytest.mark.parametrize(
    "prices",
    ["gpt-7", "=1/2", "gpt-7=1", "gpt-7=1/2/3/4", "gpt-7=-1/2", "gpt-7=NaN/1", "gpt-7=Infinity/1", "gpt-7=a/b",
     "gpt-7=1e9/2", "gpt-7=1/2;gpt-8=3/4", "gpt-7=1//2"],
)  # fmt: skip
def test_a_slip_in_the_setting_is_named(prices: str) -> None:
    with pytest.raises(MissingSetting, match="OPENAI_PRICES must be model=in/out"):
        settings(prices)


@pytest.mark.parametrize(("as_of", "told"), [("", "is not set"), ("yesterday", "must be a date")])
def test_prices_without_a_day_are_refused(as_of: str, told: str) -> None:
    with pytest.raises(MissingSetting, match=f"OPENAI_PRICES_AS_OF {told}"):
        settings("gpt-7=1/2", as_of)


# The worst case

dollars = st.decimals(min_value=0, max_value=1000, places=3)
tokens = st.integers(min_value=0, max_value=50_000)


@given(st.tuples(dollars, dollars, dollars), st.tuples(tokens, tokens), st.tuples(tokens, tokens, tokens))
def test_a_call_within_what_is_booked_never_costs_more_than_its_worst(
    prices: tuple[Decimal, Decimal, Decimal], booked: tuple[int, int], used: tuple[int, int, int]
) -> None:
    """Seen red where cached tokens that cost more than fresh ones were left out of the worst case."""
    most_in, most_out = booked[0] or 1, booked[1]
    terms = Terms(price=ModelPrice(*prices), most_tokens_out=most_out)
    charge = Charge(tokens_in=min(used[0], most_in), tokens_cached=used[1], tokens_out=min(used[2], most_out))
    worst, cost = terms.worst(Quote("openai", "complete", most_tokens_in=most_in)), terms.cost(charge)
    assert worst is not None
    assert cost is not None
    assert cost <= worst
