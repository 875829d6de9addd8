"""The one or two things that lately happened to a company, told as a person would pass them on."""

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Final

from sandbox.dice import chance
from sandbox.geography import COUNTRIES, City, Country
from sandbox.industries import Industry
from sandbox.records import WORLD_DAY, Article, FundingEvent, Signal
from sandbox.text import ascii_slug, comma_list, stable_hash

RECENT: Final = timedelta(days=420)
MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
OUTLETS: Final = (
    "Quayside Business",
    "The Foundry Gazette",
    "Regional Trade Post",
    "Plain Figures",
    "Morning Ledger",
)
# What Apollo files a piece of news under, by the signal's kind.
CATEGORIES: Final = {
    "funding": "investment",
    "hiring": "hires",
    "leadership": "hires",
    "growth": "expands",
    "new_office": "expands",
    "launch": "launches",
    "partnership": "partners_with",
    "certification": "receives_award",
}
AND_THEN: Final = {
    "funding": "The money is meant for new colleagues and for the product.",
    "hiring": "Applications are open until the end of the quarter.",
    "leadership": "The search had taken some months.",
    "growth": "More desks have been ordered.",
    "new_office": "The first colleagues have moved in.",
    "launch": "A few customers had tried it before.",
    "partnership": "Work together begins in the next quarter.",
    "certification": "The audit had taken some weeks.",
}
FAST_GROWTH: Final = 0.15  # of the head count in a year


@dataclass(frozen=True, slots=True)
class Subject:
    """The company as far as it is known when its news is written."""

    name: str
    city: City
    country: Country
    industry: Industry
    funding: tuple[FundingEvent, ...]
    open_roles: tuple[str, ...]
    growth: tuple[float, float, float]


def signals_of(rng: Random, about: Subject) -> tuple[Signal, ...]:
    """One or two signals, newest first; a round of money and a strong year are never left out for less."""
    found = list[Signal]()
    if about.funding and WORLD_DAY - about.funding[-1].on < RECENT:
        found.append(_funded(about.name, about.funding[-1]))
    if about.open_roles and chance(rng, 0.5):
        found.append(_hiring(rng, about))
    if about.growth[1] > FAST_GROWTH and chance(rng, 0.4):
        found.append(_growing(rng, about))
    others = [_new_office, _launched, _partnered, _certified, _new_leader]
    rng.shuffle(others)
    wanted = rng.randint(1, 2)
    for tell in others:
        if len(found) >= wanted:
            break
        found.append(tell(rng, about))
    return tuple(sorted(found[:2], key=lambda signal: signal.on, reverse=True))


def articles_of(
    name: str, funding: tuple[FundingEvent, ...], signals: tuple[Signal, ...]
) -> tuple[Article, ...]:
    """One article a signal and one a round of money, newest first. A round's article has the round's id."""
    told = [_article(name, signal) for signal in signals if signal.kind != "funding"]
    told += [_article(name, _funded(name, event), event.id) for event in funding]
    return tuple(sorted(told, key=lambda one: one.on, reverse=True))


def _article(name: str, signal: Signal, article_id: str = "") -> Article:
    throw = stable_hash("article", name, signal.sentence)
    outlet = OUTLETS[throw % len(OUTLETS)]
    title = signal.sentence.rstrip(".")
    return Article(
        id=article_id or f"{throw:024x}",
        on=signal.on,
        category=CATEGORIES[signal.kind],
        title=title,
        snippet=f"{signal.sentence} {AND_THEN[signal.kind]}",
        outlet=outlet,
        url=f"https://{ascii_slug(outlet)}.example/{signal.on.year}/{ascii_slug(title)[:80].rstrip('-')}",
    )


def _funded(name: str, event: FundingEvent) -> Signal:
    millions = f"{event.amount / 1_000_000:.1f}".removesuffix(".0")
    what = "in private equity" if event.stage == "Private Equity" else f"in a {event.stage} round"
    investor = event.investors.split(", ", maxsplit=1)[0]
    sentence = f"{name} raised ${millions} million {what} led by {investor} in {_month(event.on)}."
    return Signal("funding", event.on, sentence, event.stage.lower())


def _hiring(rng: Random, about: Subject) -> Signal:
    wanted = comma_list([f"{role}s" if not role.endswith("s") else role for role in about.open_roles[:2]])
    return Signal(
        "hiring", _lately(rng, 60), f"{about.name} is hiring {wanted} in {about.city.name}.", "hiring"
    )


def _growing(rng: Random, about: Subject) -> Signal:
    sentence = f"{about.name} grew its team by {about.growth[1]:.0%} over the past year."
    return Signal("growth", _lately(rng, 30), sentence, "fast growing")


def _new_office(rng: Random, about: Subject) -> Signal:
    abroad = rng.choice([other for other in COUNTRIES if other.name != about.country.name])
    home = [other for other in about.country.cities if other != about.city]
    where = rng.choice(home) if chance(rng, 0.6) else rng.choice(abroad.cities)
    on = _lately(rng)
    return Signal(
        "new_office", on, f"{about.name} opened an office in {where.name} in {_month(on)}.", "expansion"
    )


def _launched(rng: Random, about: Subject) -> Signal:
    on = _lately(rng)
    sentence = f"{about.name} launched {rng.choice(about.industry.launches)} in {_month(on)}."
    return Signal("launch", on, sentence, "product launch")


def _partnered(rng: Random, about: Subject) -> Signal:
    on = _lately(rng)
    years = rng.choice(("two", "three", "five"))
    field = rng.choice(about.industry.keywords)
    sentence = f"{about.name} signed a {years}-year partnership for {field} in {_month(on)}."
    return Signal("partnership", on, sentence, "partnership")


def _certified(rng: Random, about: Subject) -> Signal:
    on = _lately(rng)
    norm, keyword = rng.choice(
        (
            ("ISO 27001 certification for information security", "iso 27001"),
            ("ISO 14001 certification for its environmental work", "iso 14001"),
            ("ISO 9001 certification for quality", "iso 9001"),
        )
    )
    return Signal("certification", on, f"{about.name} received {norm} in {_month(on)}.", keyword)


def _new_leader(rng: Random, about: Subject) -> Signal:
    on = _lately(rng)
    role = rng.choice(("head of sales", "head of operations", "finance lead", "head of digital"))
    return Signal("leadership", on, f"{about.name} appointed a new {role} in {_month(on)}.", "new leadership")


def _lately(rng: Random, days: int = 300) -> date:
    return WORLD_DAY - timedelta(days=rng.randint(5, days))


def _month(on: date) -> str:
    return f"{MONTHS[on.month - 1]} {on.year}"
