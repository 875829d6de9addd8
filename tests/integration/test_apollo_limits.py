"""What Apollo says of its limits, and what becomes of it: windows in headers, usage, credits."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from sqlalchemy import text

from chalicelib.domain.money import RateNews, Terms
from chalicelib.domain.quotas import CallQuotas, Credits, Quota
from chalicelib.integrations.apollo import limits
from chalicelib.integrations.apollo.client import ApolloClient
from chalicelib.services.runs.context import Providers
from sandbox.server import Sandbox
from tests.builders import a_config, a_run
from tests.conftest import World
from tests.fakes.clock import Hands
from tests.fakes.providers import ScriptedModel
from tests.integration.apollo_world import (
    ANYBODY,
    Received,
    Reply,
    ScriptedServer,
    a_caller,
    a_page,
    credits_of,
    scripted,
)
from tests.integration.test_flow_control import all_buckets, the_run

START = datetime(2026, 11, 2, 9, tzinfo=UTC)
AT_TWENTY_PAST_NINE = "Mon, 02 Nov 2026 09:20:00 GMT"


@pytest.fixture
def clock(world: World) -> Hands:
    hands = Hands(START)
    world.database = replace(world.database, clock=hands)
    return hands


def windows(
    minute: tuple[object, object] = ("", ""),
    hour: tuple[object, object] = ("", ""),
    day: tuple[object, object] = ("", ""),
    date: str = AT_TWENTY_PAST_NINE,
) -> dict[str, str]:
    """Headers: of each window the limit and what is left. An unlimited one is empty."""
    named = {"minute": minute, "hourly": hour, "24-hour": day}
    return {
        "date": date,
        **{f"x-rate-limit-{name}": str(limit) for name, (limit, _) in named.items()},
        **{f"x-{name}-requests-left": str(left) for name, (_, left) in named.items()},
    }


@pytest.mark.parametrize(
    ("headers", "news"),
    [
        (windows((200, 150)), RateNews(200, 150)),
        (windows((200, 150), (6_000, 5_000), (50_000, 49_000)), RateNews(200, 150)),
        (windows((200, 150), (6_000, 3), (50_000, 49_000)), RateNews(200, 3)),
        (windows((200, 150), (6_000, 40), (50_000, 7)), RateNews(200, 7)),
        (windows((200, 150), (6_000, 0)), RateNews(200, 0, timedelta(minutes=40))),
        (windows((200, 150), (6_000, 9), (50_000, 0)), RateNews(200, 0, timedelta(hours=14, minutes=40))),
        (windows((200, 150), (6_000, 0), (50_000, 0)), RateNews(200, 0, timedelta(hours=14, minutes=40))),
        (windows(hour=(6_000, 0)), RateNews(None, None, timedelta(minutes=40))),
        (windows(hour=(6_000, 5)), None),
        (windows((200, 150), (6_000, 0), date="soon"), RateNews(200, 0)),
        (windows((200, 150), (6_000, 0), date=""), RateNews(200, 0)),
        (windows((200, 900)), RateNews(200, 200)),
        (windows((0, 0)), None),
        (windows((-1, 5)), None),
        (windows(("many", 5)), None),
        (windows((10**8, 5)), RateNews(10**8, 5)),
        (windows((10**40, 5)), None),
        (windows(), None),
        ({}, None),
    ],
)
def test_what_is_left_of_the_tightest_window_is_what_is_left(
    headers: Mapping[str, str], news: RateNews | None
) -> None:
    """Seen red with the minute alone."""
    assert limits.rate_news(headers) == news
    caller = a_caller()
    with scripted(Reply(200, b'{"organization": null}', headers)) as (apollo, _):
        apollo.enrich(caller, "acme.example")
    assert caller.meter.news == news


@given(st.dictionaries(st.sampled_from(sorted(windows())), st.text(max_size=12) | st.just("9" * 30)))
def test_no_header_is_too_strange(headers: dict[str, str]) -> None:
    news = limits.rate_news(headers)
    if news is not None and news.per_minute is not None:
        assert news.left is not None
        assert 0 <= news.left <= news.per_minute <= 2_000_000_000


def test_the_sandboxs_windows_are_heard(sandbox: Sandbox) -> None:
    caller = a_caller()
    with closing(ApolloClient("paid-plan-key-heard", sandbox.apollo_url)) as apollo:
        apollo.search(caller, ANYBODY, page=1, per_page=1)
        assert caller.meter.news == RateNews(200, 199)
        apollo.enrich(caller, sandbox.world.companies[0].domain)
        assert caller.meter.news == RateNews(1_000, 999)


# With the engine


def a_profile_of(companies: int) -> dict[str, Any]:
    return {"industries": ["logistics"], "batchSize": companies}


def names(number: int) -> list[dict[str, str]]:
    return [{"id": f"o{n}", "name": f"Company {n}", "primary_domain": f"c{n}.example"} for n in range(number)]


def enriched(server: ScriptedServer) -> list[Received]:
    return [call for call in server.received if "/organizations/enrich" in call.path]


@pytest.mark.parametrize(
    ("told", "wait"),
    [
        (windows((1_000, 990), (6_000, 0)), timedelta(minutes=40)),
        (windows((1_000, 990), (6_000, 70), (50_000, 0)), timedelta(hours=14, minutes=40)),
        (windows((1_000, 990), (6_000, 0), date=""), timedelta(minutes=1)),
        (windows(day=(50_000, 0)), timedelta(hours=14, minutes=40)),
    ],
    ids=["hour", "day", "no clock", "unlimited minutes"],
)
def test_a_run_waits_until_the_window_that_is_used_up_ends(
    world: World, clock: Hands, told: dict[str, str], wait: timedelta
) -> None:
    """Eight calls leave before the first answer; none after it. Seen red with the minute's figures alone."""
    found = a_page(*names(12), total_entries=12, total_pages=1)
    used_up = Reply(200, b'{"organization": {"id": "o1", "name": "Acme"}}', told)
    config = a_config(world.database, world.ours.manager, config=a_profile_of(12))
    run_id = a_run(world.database, world.ours.manager, config_id=config)
    with scripted(found, used_up) as (apollo, server):
        providers = Providers(
            apollo, ScriptedModel(), terms={"apollo": Terms(calls_per_minute=2_000)}, people=apollo
        )
        world.visit(providers)
        assert len(enriched(server)) == 8
        run = the_run(world, run_id)
        assert (run.status, run.items_succeeded) == ("pending", 8)
        assert run.due_at - clock.moment == wait
        world.visit(providers)
        assert len(enriched(server)) == 8
        server.replies[:] = [Reply(200, used_up.body, windows((1_000, 990), (6_000, 5_000)))]
        clock.moment = run.due_at
        world.settle(providers)
    assert (the_run(world, run_id).status, len(enriched(server))) == ("completed", 12)


def test_few_calls_left_in_the_hour_are_few_in_this_minute(world: World, clock: Hands) -> None:
    """The search says that two more are left of the hour, whatever the minute would allow."""
    found = a_page(*names(2), total_entries=2, total_pages=1)
    few = Reply(200, found.body, windows((200, 199), (6_000, 2)))
    run_id = a_run(world.database, world.ours.manager)
    with scripted(few, Reply.json({"organization": None})) as (apollo, _):
        world.visit(Providers(apollo, ScriptedModel(), terms={"apollo": Terms(calls_per_minute=100)}))
    assert the_run(world, run_id).status == "completed"
    (bucket,) = all_buckets(world, "apollo:search_companies")
    assert (bucket.per_minute, bucket.per_minute - bucket.used) == (200, 2)
    assert bucket.blocked_until is None


def test_a_429_names_its_wait_itself_whatever_the_headers_say(world: World, clock: Hands) -> None:
    full = Reply.json({"message": "Too many."}, 429, retry_after="25", **windows((200, 0), (6_000, 0)))
    run_id = a_run(world.database, world.ours.manager)
    with scripted(full) as (apollo, _):
        world.visit(Providers(apollo, ScriptedModel()))
    assert the_run(world, run_id).due_at - clock.moment == timedelta(seconds=25)
    with world.database.system() as session:
        blocked = session.execute(text("SELECT blocked_until FROM rate_buckets")).scalar_one()
    assert blocked - clock.moment == timedelta(seconds=25)


# What an account says when it is asked


def test_usage_tells_each_kind_of_call_in_our_words(sandbox: Sandbox) -> None:
    caller = a_caller()
    with closing(ApolloClient("paid-plan-key-usage", sandbox.apollo_url)) as apollo:
        for _ in range(3):
            apollo.search(a_caller(), ANYBODY, page=1, per_page=1)
        usage = apollo.usage(caller)
    assert usage.keys() == set(limits.OPERATIONS.values())
    searched = usage["search_companies"]
    assert searched.minute is not None
    assert searched.day == Quota(limit=50_000, used=3, left=49_997)
    assert usage["enrich_company"].hour == Quota(limit=None, used=0, left=None)
    assert credits_of(caller) == 0


def test_credits_tell_what_is_used_and_left(sandbox: Sandbox) -> None:
    caller = a_caller()
    with closing(ApolloClient("paid-plan-key-credits", sandbox.apollo_url)) as apollo:
        apollo.enrich(a_caller(), sandbox.world.companies[0].domain)
        told = apollo.credits(caller)
    assert told.balance == Quota(limit=100_000, used=1, left=99_999)
    assert told.by_kind["direct_dial_credit"] == Quota(0, 0, 0)
    assert told.cycle_ends_at == "2026-11-30"
    assert credits_of(caller) == 0


@pytest.mark.parametrize(
    ("answer", "credits_told"),
    [
        ({}, Credits()),
        ({"credit_usage_stats": [], "current_credit_cycle": "November"}, Credits()),
        (
            {
                "credit_usage_stats": {"lead_credit": {"left_over": 5, "limit": "many"}, "x": {}, "y": 3},
                "current_credit_cycle": {"end_date": "soon"},
            },
            Credits(Quota(left=5), {"lead_credit": Quota(left=5)}),
        ),
        (
            {"credit_usage_stats": {"mobile_credit": {"consumed": 2.0}}},
            Credits(Quota(), {"mobile_credit": Quota(used=2)}),
        ),
    ],
)
def test_missing_parts_of_the_credits_are_not_told(answer: object, credits_told: Credits) -> None:
    with scripted(Reply.json(answer)) as (apollo, _):
        assert apollo.credits(a_caller()) == credits_told


def test_missing_parts_of_the_usage_are_not_told() -> None:
    answer = {
        '["api/v1/people", "match"]': {"minute": {"limit": 5}, "hour": None, "week": {"limit": 1}},
        '["api/v1/contacts", "search"]': {"minute": {"limit": 5}},
        "api/v1/people/bulk_match": {"day": {"consumed": 3, "left_over": -1}},
        "[[": {"minute": {}},
        "7": {},
        '["api/v1/organizations", "enrich"]': 4,
    }
    with scripted(Reply.json(answer)) as (apollo, _):
        assert apollo.usage(a_caller()) == {
            "match_person": CallQuotas(minute=Quota(limit=5)),
            "match_people": CallQuotas(day=Quota(used=3)),
        }


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.text(max_size=12)
        | st.sampled_from(["credit_usage_stats", "current_credit_cycle", '["api/v1/people", "match"]']),
        junk,
        max_size=4,
    )
)
def test_no_account_is_too_strange(answer: dict[str, Any]) -> None:
    limits.usage(answer)
    limits.credits_of(answer)
