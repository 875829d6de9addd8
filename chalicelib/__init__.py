"""Bevyly Agents: the agent layer of a sales CRM.

Imports point one way: api, workers → bootstrap → services → db | integrations | agents →
observability, settings → domain. `lint-imports` checks it.
"""
