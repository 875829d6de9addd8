"""How the world's companies come to be: sizes, money and news that agree with each other."""

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Final

from sandbox.dice import chance, object_id, phone_number
from sandbox.geography import COUNTRIES, Country
from sandbox.industries import COMMON_TECHNOLOGIES, INDUSTRIES, TECHNOLOGIES, Industry, Trade
from sandbox.news import Subject, articles_of, signals_of
from sandbox.records import WORLD_DAY, Company, FundingEvent, Technology
from sandbox.text import ascii_slug

# Smallest, largest, and how many of a hundred companies have that many people.
HEAD_COUNTS: Final = (
    (3, 10, 12),
    (11, 20, 14),
    (21, 50, 22),
    (51, 100, 16),
    (101, 200, 13),
    (201, 500, 12),
    (501, 1_000, 5),
    (1_001, 2_000, 3),
    (2_001, 5_000, 2),
    (5_001, 10_000, 1),
)
# Stage, fewest people, least and most raised in millions of US dollars.
STAGES: Final = (
    ("Seed", 0, 0.4, 3.5),
    ("Series A", 20, 4, 15),
    ("Series B", 60, 16, 45),
    ("Series C", 200, 40, 110),
    ("Private Equity", 600, 80, 300),
)
INVESTORS: Final = (
    "Larkspur Ventures",
    "Blue Quay Capital",
    "Hearthstone Growth",
    "Ninefold Partners",
    "Oakline Fund",
    "Tidewater Seed",
    "Meridian Row",
    "Cobalt Street Capital",
    "Saltmarsh Investors",
    "Polar Lantern",
)
# Departments beside the trade's own, with how many of a hundred people sit there.
COMMON_DEPARTMENTS: Final = (
    ("sales", 14),
    ("marketing", 7),
    ("operations", 12),
    ("finance", 6),
    ("human_resources", 4),
    ("information_technology", 6),
    ("support", 8),
    ("engineering", 6),
)
HIRING_GROWTH: Final = 0.02  # over six months, and there are open roles
SMALL: Final = 50
STREETS: Final = (
    "Mill Lane",
    "Station Road",
    "Harbour Street",
    "Market Square",
    "Foundry Row",
    "Orchard Way",
)


def companies(rng: Random, count: int) -> Iterator[Company]:
    names = set[str]()
    countries = rng.choices(COUNTRIES, weights=[country.weight for country in COUNTRIES], k=count)
    for place, country in enumerate(countries):
        # Each industry and each country has its share, however the dice fall.
        home = COUNTRIES[place] if place < len(COUNTRIES) else country
        yield _company(rng, INDUSTRIES[place % len(INDUSTRIES)], home, names)


def _company(rng: Random, industry: Industry, country: Country, names: set[str]) -> Company:
    trade = rng.choice(industry.trades)
    name = _unused_name(rng, trade, country, names)
    city = rng.choice(country.cities)
    employees = _head_count(rng)
    founded = _founded(rng, employees)
    growth = _growth(rng, industry.venture)
    funding = tuple(_funding(rng, industry, employees, founded))
    open_roles = tuple(rng.sample(industry.roles, k=rng.randint(1, 3))) if growth[0] > HIRING_GROWTH else ()
    signals = signals_of(rng, Subject(name, city, country, industry, funding, open_roles, growth))
    keywords = (
        *rng.sample(industry.keywords, k=min(4, len(industry.keywords))),
        *(s.keyword for s in signals),
    )
    return Company(
        id=object_id(rng),
        account_id=object_id(rng) if chance(rng, 0.05) else None,
        name=name,
        domain=f"{ascii_slug(name)}.example",
        industry=industry.name,
        second_industry=rng.choice(industry.neighbours) if chance(rng, 0.3) else None,
        keywords=tuple(dict.fromkeys(keywords)),
        about=f"{name} {trade.does}. It has been based in {city.name} since {founded}.",
        founded=founded,
        employees=employees,
        revenue=_round_money(employees * industry.revenue_per_head * 1_000 * rng.uniform(0.7, 1.35)),
        city=city.name,
        state=city.state,
        country=country.name,
        street=f"{rng.randint(1, 190)} {rng.choice(STREETS)}",
        postal_code=f"{rng.randint(10_000, 99_999)}",
        phone=phone_number(rng, country),
        languages=tuple(dict.fromkeys((country.language, "English"))),
        technologies=_technologies(rng, industry, employees),
        funding=funding,
        signals=signals,
        open_roles=open_roles,
        news=articles_of(name, funding, signals),
        heads=_heads(industry, employees),
        growth=growth,
    )


def _unused_name(rng: Random, trade: Trade, country: Country, names: set[str]) -> str:
    first, second = country.roots
    if not names:
        names.add("Northwind Logistics")
        return "Northwind Logistics"
    while True:
        root = rng.choice(first) + rng.choice(second)
        name = f"{root} {rng.choice(trade.nouns)}"
        if name not in names:
            names.add(name)
            return name


def _head_count(rng: Random) -> int:
    low, high, _ = rng.choices(HEAD_COUNTS, weights=[weight for *_, weight in HEAD_COUNTS])[0]
    return rng.randint(low, high)


def _founded(rng: Random, employees: int) -> int:
    """Large companies have had the time to grow."""
    youngest = 2 + min(18, employees // 60)
    return WORLD_DAY.year - min(90, youngest + int(rng.expovariate(1 / 14)))


def _growth(rng: Random, venture: float) -> tuple[float, float, float]:
    year = max(-0.3, min(0.9, rng.gauss(0.05 + venture * 0.12, 0.12)))
    return round(year * rng.uniform(0.35, 0.6), 3), round(year, 3), round(year * rng.uniform(1.4, 2.1), 3)


def _funding(rng: Random, industry: Industry, employees: int, founded: int) -> Iterator[FundingEvent]:
    if not chance(rng, industry.venture):
        return
    within_reach = [stage for stage in STAGES if stage[1] <= employees]
    reached = within_reach[: rng.randint(1, len(within_reach))][-3:]
    on = WORLD_DAY - timedelta(days=rng.randint(20, 900) + 500 * (len(reached) - 1))
    for stage, _, low, high in reached:
        if on >= date(founded, 6, 1):
            millions = round(rng.uniform(low, high), 1)
            yield FundingEvent(
                id=object_id(rng),
                on=on,
                stage=stage,
                amount=int(millions * 1_000_000),
                investors=", ".join(rng.sample(INVESTORS, k=rng.randint(1, 2))),
            )
        on = min(on + timedelta(days=rng.randint(380, 500)), WORLD_DAY - timedelta(days=rng.randint(10, 60)))


def _technologies(rng: Random, industry: Industry, employees: int) -> tuple[Technology, ...]:
    wanted = 3 if employees < SMALL else 5
    common = rng.sample(COMMON_TECHNOLOGIES, k=wanted + rng.randint(0, 2))
    own = rng.sample(industry.technologies, k=rng.randint(1, min(3, len(industry.technologies))))
    return tuple(TECHNOLOGIES[uid] for uid in dict.fromkeys((*common, *own)))


def _heads(industry: Industry, employees: int) -> dict[str, int]:
    """Everybody sits somewhere: the departments' heads add up to the company's."""
    heads = {name: employees * share // 100 for name, share in COMMON_DEPARTMENTS}
    heads[industry.trade] = heads.get(industry.trade, 0) + employees - sum(heads.values())
    return {name: number for name, number in heads.items() if number}


def _round_money(amount: float) -> int:
    """Three figures that matter, as a revenue is told."""
    step: int = 10 ** max(0, len(str(int(amount))) - 3)
    return int(amount) // step * step
