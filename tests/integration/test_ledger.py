"""Every paid call is a line of the ledger, complete, and equal to what the provider's own books say of it."""

import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.domain.errors import ProviderBusy
from chalicelib.domain.money import ModelPrice, Terms
from chalicelib.domain.providers import Answer, Caller
from chalicelib.integrations.apollo.client import ApolloClient
from chalicelib.integrations.openai.client import OpenAIModel
from chalicelib.integrations.openai.prices import PRICES
from chalicelib.services.runs.context import Providers
from chalicelib.services.terms import platform_terms
from sandbox.server import Sandbox
from tests.builders import a_config, a_contact, a_run, rows
from tests.conftest import World
from tests.fakes.providers import ScriptedCompanies, ScriptedModel
from tests.integration.apollo_world import Reply, ScriptedServer
from tests.integration.test_flow_control import SENDER, checkpoint, running, the_books_agree, the_run

DRAFT = json.dumps(ScriptedModel().answer_with)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running_sandbox:
        yield running_sandbox


@pytest.fixture
def paid(world: World, sandbox: Sandbox) -> Iterator[tuple[World, Providers]]:
    """A world with the installation's keys, and the providers that bootstrap would make of them."""
    sandbox.ledger.reset()
    world = world.with_settings(
        apollo_api_key="sandbox-apollo-key",
        openai_api_key="sandbox-openai-key",
        platform_dollars_per_month=20,
    )
    settings = world.database.settings
    with (
        closing(ApolloClient("sandbox-apollo-key", sandbox.apollo_url)) as companies,
        closing(
            OpenAIModel(
                "sandbox-openai-key",
                sandbox.openai_url,
                model=settings.openai_default_model,
                max_tokens=settings.openai_max_tokens,
            )
        ) as model,
    ):
        yield world, Providers(companies, model, platform_terms(settings))


def entries(world: World) -> dict[str, Any]:
    found = rows(world.database, world.ours.manager, "SELECT * FROM usage_entries ORDER BY created_at, id")
    return {entry.id: entry for entry in found}


def test_the_ledger_is_what_the_providers_own_books_say(
    paid: tuple[World, Providers], sandbox: Sandbox
) -> None:
    """Both providers, real HTTP. Seen red with one provider's calls settled without their tokens."""
    world, providers = paid
    leads = a_config(world.database, world.ours.manager, config={"industries": ["logistics"], "batchSize": 4})
    mails = a_config(world.database, world.ours.manager, agent_type="email_drafter", config=SENDER)
    contacts = [a_contact(world.database, world.ours.manager) for _ in range(3)]
    runs = {
        "apollo": (leads, a_run(world.database, world.ours.manager, config_id=leads)),
        "openai": (mails, a_run(world.database, world.ours.manager, config_id=mails, contactIds=contacts)),
    }
    world.settle(providers)
    assert {the_run(world, run_id).status for _, run_id in runs.values()} == {"completed"}
    ours, theirs = entries(world), sandbox.ledger.entries()
    assert {call.call for call in theirs} == set(ours)
    assert len(theirs) == len(ours) == 1 + 4 + 3
    for call in theirs:
        entry = ours[call.call or ""]
        config_id, run_id = runs[call.provider]
        assert (entry.status, entry.provider, entry.payer) == ("settled", call.provider, "platform")
        assert (entry.agent_config_id, entry.run_id) == (config_id, run_id)
        assert entry.agent_type == {"apollo": "lead_source", "openai": "email_drafter"}[call.provider]
        assert (entry.credits, entry.tokens_in, entry.tokens_out) == (
            call.credits,
            call.prompt_tokens,
            call.completion_tokens,
        )
        assert entry.settled_at >= entry.created_at
        steps = rows(
            world.database,
            world.ours.manager,
            "SELECT key FROM agent_run_steps WHERE run_id = :run AND key = :key",
            run=run_id,
            key=entry.step_key,
        )
        assert len(steps) == 1
        if call.provider == "apollo":
            assert entry.operation in {"search_companies", "enrich_company"}
            assert (entry.model, entry.dollars) == (None, 0)
        else:
            price = PRICES[entry.model]
            assert (entry.operation, bool(entry.provider_request_id)) == ("complete", True)
            assert 0 < entry.tokens_reasoning < entry.tokens_out
            assert entry.dollars == price.of(
                tokens_in=call.prompt_tokens,
                tokens_cached=entry.tokens_cached,
                tokens_out=call.completion_tokens,
            )
            assert entry.dollars > 0
    the_books_agree(world)


def test_cached_and_reasoning_tokens_are_kept_apart(world: World) -> None:
    """Seen red with the cached ones left out of what is settled."""
    usage = {
        "prompt_tokens": 120,
        "completion_tokens": 80,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    message = {"role": "assistant", "content": DRAFT, "refusal": None}
    answer = {
        "id": "chatcmpl-1",
        "model": "gpt-6-luna-2026-10-01",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }
    price = ModelPrice(Decimal(10), Decimal(1), Decimal(100))
    config = a_config(world.database, world.ours.manager, agent_type="email_drafter", config=SENDER)
    contact = a_contact(world.database, world.ours.manager)
    a_run(world.database, world.ours.manager, config_id=config, contactIds=[contact])
    with (
        ScriptedServer(Reply.json(answer, x_request_id="req_9")) as server,
        closing(OpenAIModel("a-key", f"{server.url}/v1", model="gpt-6-luna", max_tokens=500)) as model,
    ):
        world.settle(
            Providers(ScriptedCompanies(), model, {"openai": Terms(price=price, most_tokens_out=5000)})
        )
    (entry,) = entries(world).values()
    assert (entry.tokens_in, entry.tokens_cached, entry.tokens_out, entry.tokens_reasoning) == (
        120,
        64,
        80,
        30,
    )
    assert entry.dollars == Decimal(56 * 10 + 64 * 1 + 80 * 100) / 1_000_000
    (day,) = rows(world.database, world.ours.manager, "SELECT * FROM usage_days")
    assert (day.tokens_in, day.tokens_cached, day.tokens_out, day.tokens_reasoning) == (120, 64, 80, 30)
    assert (day.model, day.payer, day.dollars) == (entry.model, "platform", entry.dollars)


class SilentModel(ScriptedModel):
    """Takes the call, and nobody hears of it again."""

    def answer(self, caller: Caller, *, instructions: str, facts: Any, form: type[Answer]) -> Answer:
        raise ProviderBusy("OpenAI did not answer in time.", code="provider_timeout")


def test_a_call_nobody_heard_of_is_booked_at_its_worst_and_may_be_settled_later(world: World) -> None:
    """It names the model that was asked, and moves to the one that answered. Seen red with no model on an unknown call."""
    price = ModelPrice(Decimal("0.10"), Decimal("0.10"), Decimal("0.50"))
    terms = {"openai": Terms(price=price, most_tokens_out=5000, model="gpt-6-luna")}
    config = a_config(world.database, world.ours.manager, agent_type="email_drafter", config=SENDER)
    contact = a_contact(world.database, world.ours.manager)
    a_run(world.database, world.ours.manager, config_id=config, contactIds=[contact])
    world.visit(Providers(ScriptedCompanies(), SilentModel(), terms))
    (entry,) = entries(world).values()
    assert (entry.status, entry.model, entry.error_code) == ("unknown", "gpt-6-luna", "provider_timeout")
    assert entry.dollars == Decimal("0.0041")
    settled = {
        "id": entry.id,
        "status": "settled",
        "model": "gpt-6-luna-2026",
        "credits": 0,
        "dollars": "0.001",
    }
    checkpoint(world, running(world), settled=[{**settled, "tokensIn": 700, "tokensOut": 90}])
    (entry,) = entries(world).values()
    assert (entry.status, entry.dollars, entry.tokens_in, entry.tokens_out) == (
        "settled",
        Decimal("0.001"),
        700,
        90,
    )
    days = rows(world.database, world.ours.manager, "SELECT * FROM usage_days WHERE calls <> 0")
    assert [(day.model, day.calls, day.dollars, day.tokens_in) for day in days] == [
        ("gpt-6-luna-2026", 1, Decimal("0.001"), 700)
    ]
    the_books_agree(world)


class Gone(BaseException):
    """The process is no more."""


class LastCall(ScriptedModel):
    """Takes the call; then the worker dies."""

    def answer(self, caller: Caller, *, instructions: str, facts: Any, form: type[Answer]) -> Answer:
        raise Gone


def test_the_entry_of_a_worker_that_died_in_its_call_names_the_model(world: World) -> None:
    """From its booking on, so also the sums of what nobody heard of again. Seen red with no model in the quote."""
    price = ModelPrice(Decimal("0.10"), Decimal("0.10"), Decimal("0.50"))
    terms = {"openai": Terms(price=price, most_tokens_out=5000, model="gpt-6-luna")}
    config = a_config(world.database, world.ours.manager, agent_type="email_drafter", config=SENDER)
    contact = a_contact(world.database, world.ours.manager)
    a_run(world.database, world.ours.manager, config_id=config, contactIds=[contact])
    with pytest.raises(Gone):
        world.visit(Providers(ScriptedCompanies(), LastCall(), terms))
    (entry,) = entries(world).values()
    assert (entry.status, entry.model) == ("reserved", "gpt-6-luna")
    rows(
        world.database, world.ours.manager, "UPDATE agent_runs SET lease_expires_at = app_now() RETURNING id"
    )
    world.visit(Providers(ScriptedCompanies(), SilentModel(), terms))
    assert {(entry.status, entry.model) for entry in entries(world).values()} == {("unknown", "gpt-6-luna")}
    days = rows(world.database, world.ours.manager, "SELECT model, calls FROM usage_days WHERE calls <> 0")
    assert [(day.model, day.calls) for day in days] == [("gpt-6-luna", 2)]
    the_books_agree(world)
