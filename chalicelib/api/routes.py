"""Every noun of the API. A noun that is not here has no routes."""

from chalice.app import Chalice

from chalicelib.api import (
    agents,
    approvals,
    auth,
    budgets,
    crm,
    docs,
    events,
    health,
    http,
    integrations,
    runs,
)

NOUNS = (agents, approvals, auth, budgets, crm, docs, events, health, integrations, runs)


def register(app: Chalice) -> None:
    """Give the app every route that the nouns declare."""
    http.register(app)
