"""Decisions: one a version, undone before their effect or not at all; effects once."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from chalicelib.agents.base import Proposal
from chalicelib.db.work import Database
from chalicelib.domain.access import Actor, Role, engine_for
from chalicelib.domain.approvals import Decision, content_hash
from chalicelib.domain.content import LeadImport, dump
from chalicelib.domain.errors import AppError, Conflict, Invalid, NotFound, NotPermitted
from chalicelib.domain.ids import ApprovalItemId, RunId, new_id
from chalicelib.services.approvals.decide import Verdict, decide, decide_one, revert
from chalicelib.services.approvals.effects import apply_due, expire_due
from chalicelib.services.approvals.propose import Birth, Origin, propose
from tests.builders import a_run, an_item, rows, wait_until_somebody_waits
from tests.conftest import World, a_tenant

EDITED = {"name": "Edited Ltd", "domain": "edited.example", "employeeCount": 7}


def approve(
    world: World, actor: Actor, item_id: str, version: int = 1, edited: dict[str, Any] | None = None
) -> Any:
    with world.database.enter(actor) as work:
        return decide_one(work, Verdict(ApprovalItemId(item_id), version, edited), Decision.APPROVE)


def reject(world: World, actor: Actor, item_id: str, version: int = 1, reason: str = "no fit") -> Any:
    with world.database.enter(actor) as work:
        return decide_one(work, Verdict(ApprovalItemId(item_id), version), Decision.REJECT, reason=reason)


def item(world: World, item_id: str) -> Any:
    (row,) = rows(
        world.database, world.ours.manager, "SELECT * FROM approval_items WHERE id = :id", id=item_id
    )
    return row


def set_undo_window(database: Database, actor: Actor, seconds: int) -> None:
    rows(database, actor, "UPDATE customers SET undo_window_seconds = :s RETURNING id", s=seconds)


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """Do all at the same moment on threads of their own; what each returned or raised."""
    together = threading.Barrier(len(actions))
    outcomes: list[Any] = [None] * len(actions)

    def act(number: int, action: Callable[[], Any]) -> None:
        together.wait()
        try:
            outcomes[number] = action()
        except AppError as refused:
            outcomes[number] = refused

    threads = [threading.Thread(target=act, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


def test_an_approved_lead_becomes_an_account_once(world: World) -> None:
    item_id = an_item(world.database, world.ours.manager, domain="one.example")
    approve(world, world.ours.manager, item_id)
    assert apply_due(world.database, world.ours.customer_id) == 1
    assert apply_due(world.database, world.ours.customer_id) == 0
    (account,) = rows(world.database, world.ours.manager, "SELECT * FROM accounts")
    assert (account.domain, account.source_item_id) == ("one.example", item_id)
    assert item(world, item_id).applied_at is not None
    (event,) = rows(
        world.database,
        world.ours.manager,
        "SELECT payload FROM outbox_events WHERE event_type = 'approval.item.approved'",
    )
    assert event.payload["wasEdited"] is False
    assert event.payload["contentHash"] == content_hash(event.payload["content"])


def test_an_edit_is_what_takes_effect_and_the_agents_version_stays(world: World) -> None:
    item_id = an_item(world.database, world.ours.manager, domain="two.example")
    ruling = approve(world, world.ours.manager, item_id, edited=EDITED)
    assert ruling.status == "edited"
    apply_due(world.database, world.ours.customer_id)
    (account,) = rows(world.database, world.ours.manager, "SELECT name, domain, employee_count FROM accounts")
    assert tuple(account) == ("Edited Ltd", "edited.example", 7)
    assert item(world, item_id).content["domain"] == "two.example"


def test_an_edit_of_the_wrong_shape_is_refused_with_a_pointer(world: World) -> None:
    item_id = an_item(world.database, world.ours.manager)
    with pytest.raises(Invalid) as refused:
        approve(world, world.ours.manager, item_id, edited={**EDITED, "domain": "no domain"})
    assert refused.value.pointer == "/editedContent/domain"
    assert item(world, item_id).status == "pending"


def test_a_rejection_says_why_and_creates_nothing(world: World) -> None:
    item_id = an_item(world.database, world.ours.manager)
    reject(world, world.ours.manager, item_id, reason="too small")
    apply_due(world.database, world.ours.customer_id)
    assert rows(world.database, world.ours.manager, "SELECT id FROM accounts") == []
    (event,) = rows(
        world.database,
        world.ours.manager,
        "SELECT payload FROM outbox_events WHERE event_type = 'approval.item.rejected'",
    )
    assert event.payload["reason"] == "too small"


def test_of_two_reviewers_at_once_one_wins_and_the_other_is_told_who(world: World) -> None:
    """Approve beside reject, twenty times; seen red with the version and the status left out of the UPDATE."""
    manager, admin = world.ours.manager, world.ours.people[Role.ADMIN]
    for _ in range(20):
        item_id = an_item(world.database, manager)
        outcomes = at_once(lambda: approve(world, manager, item_id), lambda: reject(world, admin, item_id))  # noqa: B023
        refused = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        assert len(refused) == 1
        winner = manager if outcomes.index(refused[0]) == 1 else admin
        assert refused[0].details["reviewedBy"]["id"] == winner.user_id
    apply_due(world.database, world.ours.customer_id)
    approved = rows(world.database, manager, "SELECT id FROM approval_items WHERE status = 'approved'")
    accounts = rows(world.database, manager, "SELECT source_item_id FROM accounts")
    assert {row.id for row in approved} == {row.source_item_id for row in accounts}


def test_the_same_decision_again_is_answered_the_same(world: World) -> None:
    item_id = an_item(world.database, world.ours.manager)
    assert approve(world, world.ours.manager, item_id) == approve(world, world.ours.manager, item_id)
    with pytest.raises(Conflict):
        reject(world, world.ours.manager, item_id)


def test_a_stale_version_is_refused(world: World) -> None:
    item_id = an_item(world.database, world.ours.manager)
    with pytest.raises(Conflict) as refused:
        approve(world, world.ours.manager, item_id, version=7)
    assert refused.value.code == "stale_version"


def test_a_rep_decides_only_what_is_theirs(world: World) -> None:
    """Seen red without the owner's condition in the UPDATE."""
    others = an_item(world.database, world.ours.manager)
    own = an_item(world.database, world.ours.manager, owner=world.ours.rep)
    with pytest.raises(NotPermitted):
        approve(world, world.ours.rep, others)
    assert approve(world, world.ours.rep, own).status == "approved"


def test_another_tenants_item_is_not_there(world: World) -> None:
    item_id = an_item(world.database, world.ours.manager)
    with pytest.raises(NotFound):
        approve(world, world.theirs.manager, item_id)
    with pytest.raises(NotFound):
        approve(world, world.theirs.manager, new_id("ApprovalItemId"))


def test_an_expired_item_cannot_be_decided(world: World) -> None:
    item_id = an_item(world.database, world.ours.manager)
    rows(world.database, world.ours.manager, "UPDATE approval_items SET expires_at = app_now() RETURNING id")
    with pytest.raises(Conflict) as refused:
        approve(world, world.ours.manager, item_id)
    assert refused.value.code == "expired"
    assert expire_due(world.database, world.ours.customer_id) == 1
    assert item(world, item_id).status == "expired"


def test_nothing_takes_effect_before_the_undo_window_is_over(world: World) -> None:
    set_undo_window(world.database, world.ours.manager, 60)
    item_id = an_item(world.database, world.ours.manager)
    approve(world, world.ours.manager, item_id)
    assert apply_due(world.database, world.ours.customer_id) == 0
    assert world.signals.effects[-1][1].total_seconds() == 60


def test_an_undone_decision_waits_again_and_can_be_decided_anew(world: World) -> None:
    set_undo_window(world.database, world.ours.manager, 60)
    item_id = an_item(world.database, world.ours.manager)
    approve(world, world.ours.manager, item_id, edited=EDITED)
    with world.database.enter(world.ours.manager) as work:
        revert(work, item_id, version=2)
    undone = item(world, item_id)
    assert (undone.status, undone.version, undone.edited_content, undone.reviewed_by) == (
        "pending",
        3,
        None,
        None,
    )
    assert reject(world, world.ours.manager, item_id, version=3).status == "rejected"


def test_undo_against_effect_has_one_winner(world: World) -> None:
    """The effect holds the row; the undo that comes meanwhile is refused. Seen red with the
    undo's conditions on `applied_at` and `effective_at` dropped.
    """
    set_undo_window(world.database, world.ours.manager, 1)
    for _ in range(10):
        item_id = an_item(world.database, world.ours.manager)
        approve(world, world.ours.manager, item_id)
        rows(
            world.database,
            world.ours.manager,
            "UPDATE approval_items SET effective_at = clock_timestamp() + interval '15 ms' WHERE id = :id RETURNING id",
            id=item_id,
        )

        def undo() -> None:
            with world.database.enter(world.ours.manager) as work:
                work.session.execute(text("SELECT pg_sleep(0.005)"))
                revert(work, item_id, version=2)  # noqa: B023

        def effect() -> int:
            return sum(apply_due(world.database, world.ours.customer_id) for _ in range(30))

        undone, applied = at_once(undo, effect)
        if isinstance(undone, Conflict):
            assert applied == 1
            assert item(world, item_id).applied_at is not None
        else:
            assert applied == 0
            assert item(world, item_id).status == "pending"


def test_two_appliers_at_once_apply_each_item_once(world: World) -> None:
    """Seen red with the applier's row lock left out."""
    for _ in range(30):
        approve(world, world.ours.manager, an_item(world.database, world.ours.manager))
    applied = at_once(*[lambda: apply_due(world.database, world.ours.customer_id)] * 4)
    assert sum(applied) == 30
    events = rows(
        world.database,
        world.ours.manager,
        "SELECT aggregate_id FROM outbox_events WHERE event_type = 'approval.item.approved'",
    )
    assert len(events) == len({event.aggregate_id for event in events}) == 30


def test_a_bad_effect_keeps_nobody_elses_waiting(world: World) -> None:
    """One item's content is spoilt behind the schema's back; it alone fails, and comes back to a person."""
    good, bad = an_item(world.database, world.ours.manager), an_item(world.database, world.ours.manager)
    approve(world, world.ours.manager, good)
    approve(world, world.ours.manager, bad)
    rows(
        world.database,
        world.ours.manager,
        "UPDATE approval_items SET content = content - 'domain' WHERE id = :id RETURNING id",
        id=bad,
    )
    apply_due(world.database, world.ours.customer_id)
    assert item(world, good).applied_at is not None
    assert item(world, bad).apply_failures == 1
    for _ in range(4):
        rows(
            world.database,
            world.ours.manager,
            "UPDATE approval_items SET effective_at = app_now() WHERE id = :id RETURNING id",
            id=bad,
        )
        apply_due(world.database, world.ours.customer_id)
    back = item(world, bad)
    assert (back.status, back.applied_at, back.reviewed_by) == ("pending", None, None)
    assert back.apply_error


def test_bulk_reports_each_and_leaves_flagged_ones(world: World) -> None:
    manager = world.ours.manager
    plain = an_item(world.database, manager)
    flagged = an_item(world.database, manager, flags=({"code": "outside_profile", "message": "Too small."},))
    gone = ApprovalItemId(new_id("ApprovalItemId"))
    with world.database.enter(manager) as work:
        rulings = decide(
            work,
            [Verdict(item_id, 1) for item_id in (plain, flagged, gone)],
            Decision.APPROVE,
            unflagged_only=True,
        )
    assert [ruling.refused.code if ruling.refused else ruling.status for ruling in rulings] == [
        "approved",
        "flagged",
        "not_found",
    ]


def test_without_approval_required_the_tenants_rule_decides_what_has_no_flag(world: World) -> None:
    plain = an_item(world.database, world.ours.manager, approval_required=False)
    flagged = an_item(
        world.database,
        world.ours.manager,
        approval_required=False,
        flags=({"code": "x", "message": "Look."},),
    )
    assert item(world, plain).status == "approved"
    assert item(world, plain).decided_by_rule is not None
    assert item(world, plain).reviewed_by is None
    assert item(world, flagged).status == "pending"


def test_who_decided_what_is_in_the_audit_and_cannot_be_changed(world: World) -> None:
    """Seen red with UPDATE granted on audit_entries."""
    item_id = an_item(world.database, world.ours.manager)
    approve(world, world.ours.manager, item_id)
    (entry,) = rows(
        world.database,
        world.ours.manager,
        "SELECT * FROM audit_entries WHERE target_id = :id AND action = 'approval.approved'",
        id=item_id,
    )
    assert entry.user_id == world.ours.manager.user_id
    for statement in (
        "UPDATE audit_entries SET action = 'x' RETURNING id",
        "DELETE FROM audit_entries RETURNING id",
    ):
        with pytest.raises(Exception, match="permission denied"):
            rows(world.database, world.ours.manager, statement)


def test_a_newer_proposal_takes_the_place_of_an_older_one(world: World) -> None:
    older = an_item(world.database, world.ours.manager, domain="same.example")
    rows(world.database, world.ours.manager, "UPDATE approval_items SET content_hash = 'other' RETURNING id")
    newer = an_item(world.database, world.ours.manager, domain="same.example")
    assert item(world, older).status == "superseded"
    assert item(world, newer).status == "pending"


def test_the_same_proposal_is_not_born_twice(world: World) -> None:
    an_item(world.database, world.ours.manager, domain="same.example")
    with pytest.raises(AssertionError, match="already waits"):
        an_item(world.database, world.ours.manager, domain="same.example")


def test_the_window_of_another_tenant_is_its_own(world: World) -> None:
    slow = a_tenant(world.database, "Slow", undo_window_seconds=600)
    item_id = an_item(world.database, slow.manager)
    approve(world, slow.manager, item_id)
    assert apply_due(world.database, slow.customer_id) == 0


def leads(world: World, run_id: RunId, *names: str) -> list[Birth]:
    """What a run proposes: a lead of each name, at a domain of its first word."""
    origin = Origin(
        run_id=run_id,
        agent_type="lead_source",
        config_id=None,
        owner_id=None,
        starter_id=None,
        expiry=timedelta(hours=72),
        approval_required=True,
        causation={},
    )
    domains = [f"{name.split()[0]}.example" for name in names]
    proposals = [
        Proposal(LeadImport(name=name, domain=domain), name, f"lead:{domain}", evidence={})
        for name, domain in zip(names, domains, strict=True)
    ]
    with world.database.enter(engine_for(world.ours.customer_id)) as work:
        return propose(work, origin, proposals)


def test_two_bulk_decisions_on_the_same_items_do_not_wait_for_each_other(world: World) -> None:
    """In opposite order; seen red (a deadlock, a 503) with the rows locked as the UPDATE comes across them."""
    manager, admin = world.ours.manager, world.ours.people[Role.ADMIN]
    run_id = a_run(world.database, manager)
    for turn in range(6):
        births = leads(world, run_id, *(f"c{turn}-{number}" for number in range(100)))
        ids = [birth.item_id for birth in births if birth.item_id]

        def bulk(actor: Actor, order: list[ApprovalItemId]) -> int:
            with world.database.enter(actor) as work:
                rulings = decide(work, [Verdict(item_id, 1) for item_id in order], Decision.APPROVE)
            return sum(ruling.refused is None for ruling in rulings)

        outcomes = at_once(lambda: bulk(manager, ids), lambda: bulk(admin, ids[::-1]))  # noqa: B023
        assert sorted(outcomes) == [0, 100]


def test_a_proposal_beside_a_decision_gives_way_to_it(world: World) -> None:
    """The decision commits between the proposer's look and its write. Seen red with the look not locking: the
    newer item broke the rule of one open item a thing, and with it its run's checkpoint.
    """
    run_id = a_run(world.database, world.ours.manager)
    (older,) = leads(world, run_id, "same older")
    assert older.item_id is not None
    outcomes: list[list[Birth]] = []
    proposer = threading.Thread(target=lambda: outcomes.append(leads(world, run_id, "same newer")))
    with world.database.enter(world.ours.manager) as work:
        decide_one(work, Verdict(older.item_id, 1), Decision.APPROVE)
        proposer.start()
        wait_until_somebody_waits(world.database)
    proposer.join(20)
    ((newer,),) = outcomes
    assert (newer.item_id, newer.skipped) == (None, f"It was approved a moment ago ({older.item_id}).")
    assert item(world, older.item_id).status == "approved"


def test_the_longest_lead_in_any_script_takes_effect(world: World) -> None:
    """Its event was measured with every letter beyond ASCII as six, and refused; the item came back to a person,
    who could do nothing about it.
    """
    widest = "\N{GRINNING FACE}"
    lead = LeadImport(
        name=widest * 255,
        domain="wide.example",
        industry=widest * 100,
        city=widest * 100,
        country=widest * 100,
        description=widest * 2000,
        technologies=[f"{number:03}{widest * 97}" for number in range(100)],
        linkedin_url=f"https://{'l' * 490}",
    )
    item_id = an_item(world.database, world.ours.manager)
    approve(world, world.ours.manager, item_id, edited=dump(lead))
    apply_due(world.database, world.ours.customer_id)
    assert item(world, item_id).applied_at is not None
