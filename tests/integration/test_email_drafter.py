"""The e-mail drafter, executed by the real engine on a real database; the model is scripted, or the sandbox."""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.domain.errors import OutOfCredit, ProviderBusy, ProviderFailed, Refused
from chalicelib.domain.money import Charge, ModelPrice, Terms
from chalicelib.domain.providers import Answer, Caller
from chalicelib.integrations.openai.client import OpenAIModel
from chalicelib.services.runs.context import Providers
from sandbox.server import Sandbox
from tests.builders import a_config, a_contact, a_run, rows
from tests.conftest import World
from tests.fakes.providers import ScriptedCompanies
from tests.integration.test_flow_control import the_books_agree, the_run

SENDER = {
    "productValue": "Plan routes in minutes",
    "senderName": "Grace Hopper",
    "senderTitle": "Head of Sales",
}
FINE = "Hello Ada, your company grows.\n\nThat is work. We take it off you. Shall we talk?\n\nBest,\nGrace"
LONG = f"Hello Ada, your company grows. {'word ' * 160}. We take it off you. Shall we talk?"

Told = str | Exception


@dataclass(slots=True)
class Model:
    """Says one thing after the other, the last one for ever, and charges for each."""

    says: deque[Told]
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)

    def answer(
        self, caller: Caller, *, instructions: str, facts: Mapping[str, Any], form: type[Answer]
    ) -> Answer:
        self.asked.append(facts)
        self.instructions.append(instructions)
        said = self.says.popleft() if len(self.says) > 1 else self.says[0]
        if not isinstance(said, ProviderBusy):
            caller.meter.add(Charge(model="scripted", tokens_in=100, tokens_out=50))
        if isinstance(said, Exception):
            raise said
        return form.model_validate({"subject": "A question", "body": said, "factsUsed": ["companyName"]})


@dataclass(slots=True)
class Drafted:
    run: Any
    model: Model
    items: list[Any]
    steps: dict[str, Any]


@pytest.fixture
def draft(world: World) -> Callable[..., Drafted]:
    """Draft to so many contacts with a model that says these things."""

    def drafted(*says: Told, contacts: int = 1, **config: Any) -> Drafted:
        manager = world.ours.manager
        config_id = a_config(world.database, manager, agent_type="email_drafter", config=SENDER, **config)
        ids = [a_contact(world.database, manager) for _ in range(contacts)]
        run_id = a_run(world.database, manager, config_id=config_id, contactIds=ids)
        model = Model(deque(says))
        world.settle(Providers(ScriptedCompanies(), model))
        items = rows(world.database, manager, "SELECT * FROM approval_items ORDER BY created_at, id")
        steps = rows(world.database, manager, "SELECT * FROM agent_run_steps WHERE run_id = :run", run=run_id)
        the_books_agree(world)
        return Drafted(the_run(world, run_id), model, items, {step.key: step for step in steps})

    return drafted


def codes(item: Any) -> list[str]:
    return [flag["code"] for flag in item.flags]


def test_a_draft_that_keeps_the_rules_is_proposed_at_once(draft: Callable[..., Drafted]) -> None:
    done = draft(FINE)
    [item] = done.items
    assert (item.content["body"], item.flags, len(done.model.asked)) == (FINE, [], 1)
    assert item.context["prompt"] == "email-draft/1"
    assert [key for key in done.steps if key.startswith("redraft:")] == []


def test_a_draft_that_breaks_a_rule_is_asked_for_once_more_with_what_was_wrong(
    draft: Callable[..., Drafted],
) -> None:
    """Seen red where the first draft was proposed whatever it broke."""
    done = draft(LONG, FINE)
    [item] = done.items
    assert (item.content["body"], item.flags) == (FINE, [])
    assert item.context["prompt"] == "email-redraft/1"
    first, second = done.model.asked
    assert "firstDraft" not in first
    assert second["firstDraft"]["body"] == LONG.strip()
    assert second["brokenRules"] == ["173 words; fewer than 150 were asked for."]
    assert "brokenRules" in done.model.instructions[1]


def test_what_still_breaks_a_rule_is_proposed_with_flags(draft: Callable[..., Drafted]) -> None:
    """Never a third time, and never without a flag. Seen red with the flags of a second draft left out."""
    done = draft(LONG)
    [item] = done.items
    assert codes(item) == ["too_long"]
    assert len(done.model.asked) == 2
    assert done.run.status == "completed"


def test_only_what_is_broken_is_asked_for_again_and_each_contact_is_one_item(
    draft: Callable[..., Drafted],
) -> None:
    """Seen red with redrafts counted as items."""
    done = draft(LONG, LONG, FINE, contacts=5, limits={"daily": 5})
    assert (len(done.items), len(done.model.asked)) == (5, 7)
    assert [codes(item) for item in done.items] == [[]] * 5
    assert (done.run.status, done.run.items_processed, done.run.items_succeeded) == ("completed", 5, 5)
    assert done.run.items_total == 5


def test_each_try_is_paid_for_and_recorded_with_its_prompt(
    world: World, draft: Callable[..., Drafted]
) -> None:
    done = draft(LONG, FINE)
    outputs = {key.partition(":")[0]: step.output for key, step in done.steps.items()}
    assert outputs["draft"]["prompt"] == "email-draft/1"
    assert outputs["draft"]["draft"]["body"] == LONG
    assert outputs["redraft"]["prompt"] == "email-redraft/1"
    entries = rows(
        world.database, world.ours.manager, "SELECT step_key, status, tokens_in FROM usage_entries"
    )
    assert sorted(entry.step_key.partition(":")[0] for entry in entries) == ["draft", "redraft"]
    assert {(entry.status, entry.tokens_in) for entry in entries} == {("settled", 100)}


@pytest.mark.parametrize(
    "trouble",
    [
        Refused("It declined.", code="model_refused"),
        ProviderFailed("It does not accept the request.", code="bad_request"),
    ],
    ids=["refused", "failed"],
)
def test_a_first_draft_is_not_lost_when_the_second_fails(
    draft: Callable[..., Drafted], trouble: Exception
) -> None:
    """It is paid for. Seen red without the exception caught."""
    done = draft(LONG, trouble)
    [item] = done.items
    assert (item.content["body"], codes(item), item.context["prompt"]) == (
        LONG.strip(),
        ["too_long"],
        "email-draft/1",
    )
    assert (done.run.items_succeeded, done.run.items_failed) == (1, 0)


def test_a_second_draft_that_is_no_e_mail_leaves_the_first(draft: Callable[..., Drafted]) -> None:
    done = draft(LONG, " ")
    assert [item.content["body"] for item in done.items] == [LONG.strip()]


def test_a_model_that_writes_no_e_mail_twice_is_told(draft: Callable[..., Drafted]) -> None:
    done = draft(" ")
    assert done.items == []
    assert "no e-mail that could be sent" in done.run.output["errors"][0]["error"]


def test_a_spent_quota_ends_the_run_also_in_the_second_draft(draft: Callable[..., Drafted]) -> None:
    done = draft(LONG, OutOfCredit("No credit."))
    assert (done.run.status, done.run.error_code, done.items) == ("failed", "out_of_credit", [])


def test_a_run_resumes_between_the_two_drafts(world: World) -> None:
    """The first draft is remembered; only the second is asked for."""
    manager = world.ours.manager
    config_id = a_config(world.database, manager, agent_type="email_drafter", config=SENDER)
    run_id = a_run(
        world.database, manager, config_id=config_id, contactIds=[a_contact(world.database, manager)]
    )
    busy = Model(deque([LONG, ProviderBusy("Full.", code="rate_limited")]))
    world.visit(Providers(ScriptedCompanies(), busy))
    assert the_run(world, run_id).status == "pending"
    rows(world.database, manager, "UPDATE agent_runs SET due_at = app_now() RETURNING id")
    rows(world.database, manager, "UPDATE tenant_queues SET rung_at = app_now() RETURNING customer_id")
    later = Model(deque([FINE]))
    world.settle(Providers(ScriptedCompanies(), later))
    assert the_run(world, run_id).status == "completed"
    assert [asked.get("brokenRules") is not None for asked in later.asked] == [True]
    (item,) = rows(world.database, manager, "SELECT * FROM approval_items")
    assert item.content["body"] == FINE


def test_a_budget_is_not_exceeded_by_second_drafts(world: World) -> None:
    """A draft may cost $4.10, a second one, which is told more, $4.90: the budget has room for the first alone."""
    manager = world.ours.manager
    price = ModelPrice(Decimal(100), Decimal(100), Decimal(500))
    rows(
        world.database,
        manager,
        "INSERT INTO budgets (customer_id, monthly_dollars) VALUES (:c, 4.60) RETURNING customer_id",
        c=world.ours.customer_id,
    )
    config_id = a_config(world.database, manager, agent_type="email_drafter", config=SENDER)
    ids = [a_contact(world.database, manager) for _ in range(3)]
    run_id = a_run(world.database, manager, config_id=config_id, contactIds=ids)
    model = Model(deque([LONG]))
    terms = {"openai": Terms(price=price, most_tokens_out=5000)}
    world.settle(Providers(ScriptedCompanies(), model, terms))
    (month,) = rows(world.database, manager, "SELECT dollars_spent, dollars_reserved FROM usage_months")
    assert (month.dollars_spent, month.dollars_reserved) == (3 * Decimal("0.035"), 0)
    assert the_run(world, run_id).error_code == "budget_dollars"
    assert len(model.asked) == 3
    the_books_agree(world)


def test_drafts_of_the_sandbox_keep_every_rule(world: World) -> None:
    manager = world.ours.manager
    config_id = a_config(world.database, manager, agent_type="email_drafter", config=SENDER)
    ids = [a_contact(world.database, manager) for _ in range(4)]
    with (
        Sandbox() as sandbox,
        closing(
            OpenAIModel("sandbox-openai-key", sandbox.openai_url, model="gpt-6-luna", max_tokens=1000)
        ) as model,
    ):
        run_id = a_run(world.database, manager, config_id=config_id, contactIds=ids)
        world.settle(Providers(ScriptedCompanies(), model))
        calls = len(sandbox.ledger.entries())
    items = rows(world.database, manager, "SELECT * FROM approval_items")
    assert (the_run(world, run_id).status, len(items), calls) == ("completed", 4, 4)
    assert [item.flags for item in items] == [[]] * 4
