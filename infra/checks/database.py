"""Connections to the database."""

from infra.checks.made import Installation, Problems
from infra.connections import budget


def connections_suffice(made: Installation) -> Problems:
    try:
        yield from budget(made.given, made.functions).problems()
    except ValueError as error:
        yield str(error)
