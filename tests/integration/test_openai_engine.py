"""The engine, the client and a model's server over HTTP: what is booked before a call is never exceeded by it."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any, Final

from chalicelib.agents.prompts.email_draft import Draft
from chalicelib.domain.money import ModelPrice, Terms
from chalicelib.integrations.openai.client import OpenAIModel
from chalicelib.services.runs.context import Providers
from tests.builders import a_config, a_contact, a_run, rows
from tests.conftest import World
from tests.fakes.providers import ScriptedCompanies
from tests.integration.apollo_world import Reply, ScriptedServer
from tests.integration.test_email_drafter import FINE, SENDER
from tests.integration.test_flow_control import a_budget, the_books_agree, the_run

PRICE: Final = ModelPrice(Decimal("0.10"), Decimal("0.10"), Decimal("0.50"))
WORST: Final = Decimal("0.0041")  # 16,000 tokens in, 5,000 out


@contextmanager
def a_server(usage: Mapping[str, Any]) -> Iterator[tuple[Providers, ScriptedServer]]:
    """A model that writes a draft by the rules and claims such a usage."""
    draft = Draft(subject="A question", body=FINE, factsUsed=["companyName"]).model_dump_json()
    message = {"role": "assistant", "content": draft, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    with (
        ScriptedServer(Reply.json({"choices": [choice], "usage": usage})) as server,
        closing(OpenAIModel("key", f"{server.url}/v1", model="gpt-6-luna", max_tokens=1000)) as model,
    ):
        terms = {"openai": Terms(price=PRICE, most_tokens_out=model.token_limit)}
        yield Providers(ScriptedCompanies(), model, terms), server


def drafting(world: World, contacts: int, **config: Any) -> str:
    manager = world.ours.manager
    config_id = a_config(world.database, manager, agent_type="email_drafter", config={**SENDER, **config})
    ids = [a_contact(world.database, manager) for _ in range(contacts)]
    return a_run(world.database, manager, config_id=config_id, contactIds=ids)


def entries(world: World) -> list[Any]:
    return rows(
        world.database,
        world.ours.manager,
        "SELECT status, dollars, tokens_in, tokens_out, error_code FROM usage_entries ORDER BY created_at, id",
    )


def test_a_server_that_claims_too_much_does_not_exceed_a_budget(world: World) -> None:
    """It claims a billion tokens a call. Seen red without the engine telling the client what is booked."""
    a_budget(world, dollars=Decimal("0.01"))
    run_id = drafting(world, 3)
    with a_server({"prompt_tokens": 10**9, "completion_tokens": 10**9}) as (providers, server):
        world.settle(providers)
        assert len(server.received) == 2  # a third has no room in the budget
    assert the_run(world, run_id).error_code == "budget_dollars"
    booked = [(entry.status, entry.dollars, entry.tokens_in, entry.tokens_out) for entry in entries(world)]
    assert booked == [("settled", WORST, 16_000, 5_000)] * 2
    (month,) = rows(world.database, world.ours.manager, "SELECT dollars_spent FROM usage_months")
    assert month.dollars_spent == 2 * WORST
    the_books_agree(world)


def test_a_usage_within_what_is_booked_is_booked_as_stated(world: World) -> None:
    drafting(world, 1)
    usage = {"prompt_tokens": 900, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 512}}
    with a_server(usage) as (providers, _):
        world.settle(providers)
    [entry] = entries(world)
    assert (entry.status, entry.dollars, entry.tokens_in) == ("settled", Decimal("0.00019"), 900)
    the_books_agree(world)


def test_facts_that_are_too_long_are_not_sent_and_cost_nothing(world: World) -> None:
    """A pitch of nothing but what the fence has to write as escapes is more than what is booked."""
    run_id = drafting(world, 1, painPoints=["`" * 200] * 10, productValue="`" * 500)
    with a_server({"prompt_tokens": 1, "completion_tokens": 1}) as (providers, server):
        world.settle(providers)
        assert server.received == []
    [entry] = entries(world)
    assert (entry.status, entry.dollars, entry.error_code) == ("released", Decimal(0), "too_long")
    [failed] = the_run(world, run_id).output["errors"]
    assert "too long" in failed["error"]
    the_books_agree(world)
