"""Every agent there is. Adding one is a file and a line here."""

from collections.abc import Mapping
from types import MappingProxyType

from chalicelib.agents import email_drafter, lead_source
from chalicelib.agents.base import Agent
from chalicelib.domain.errors import Invalid

AGENTS: Mapping[str, Agent] = MappingProxyType(
    {
        agent.type: agent
        for agent in (
            lead_source.AGENT,
            email_drafter.AGENT,
        )
    }
)


def find(agent_type: str) -> Agent:
    """The agent of this type, or Invalid."""
    try:
        return AGENTS[agent_type]
    except KeyError:
        raise Invalid(
            f"Unknown agent type: {agent_type}", pointer="/agentType", code="unknown_agent_type"
        ) from None
