"""Throws of the world's one seeded generator."""

from random import Random

from sandbox.geography import Country


def chance(rng: Random, share: float) -> bool:
    return rng.random() < share


def object_id(rng: Random) -> str:
    """Twenty-four hexadecimal digits, as Apollo's ids are."""
    return f"{rng.getrandbits(96):024x}"


def phone_number(rng: Random, country: Country) -> str:
    return "".join(str(rng.randint(2, 9)) if mark == "#" else mark for mark in country.phone)
