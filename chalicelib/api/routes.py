"""Every noun of the API. A noun that is not here has no routes."""

from chalice.app import Chalice

from chalicelib.api import (
    agents,
    approvals,
    auth,
    budgets,
    crm,
    docs,
    estimates,
    events,
    health,
    http,
    integrations,
    runs,
    usage,
)

NOUNS = (
    agents,
    approvals,
    auth,
    budgets,
    crm,
    docs,
    estimates,
    events,
    health,
    integrations,
    runs,
    usage,
)


def register(app: Chalice) -> None:
    """Give the app every route that the nouns declare."""
    http.register(app)
