"""Every agent there is. Adding one is a file and a word here; it is imported when it is first asked for."""

from collections.abc import Iterator, Mapping
from importlib import import_module

from chalicelib.agents.base import Agent
from chalicelib.domain.errors import Invalid


class _Modules(Mapping[str, Agent]):
    """The agents by their types, each the AGENT of the module that bears its type's name."""

    def __init__(self, *types: str) -> None:
        self._types = types

    def __getitem__(self, agent_type: str) -> Agent:
        if agent_type not in self._types:
            raise KeyError(agent_type)
        agent: Agent = import_module(f"chalicelib.agents.{agent_type}").AGENT
        return agent

    def __contains__(self, agent_type: object) -> bool:
        return agent_type in self._types

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


AGENTS: Mapping[str, Agent] = _Modules(
    "lead_source",
    "email_drafter",
)


def find(agent_type: str) -> Agent:
    """The agent of this type, or Invalid."""
    if agent_type not in AGENTS:
        raise Invalid(f"Unknown agent type: {agent_type}", pointer="/agentType", code="unknown_agent_type")
    return AGENTS[agent_type]
