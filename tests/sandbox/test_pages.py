"""The pages for a person: the world, the ledger, the switches; and who may not touch them."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from openai import OpenAI

from sandbox.openai_requests import KNOWN_MODELS
from sandbox.presets import PRESETS
from sandbox.server import Sandbox
from sandbox.world import World

SEARCH = "mixed_companies/search"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"


class Page(HTMLParser):
    """What a browser would find: texts, links and the forms with their fields."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.links, self.forms, self.words = (
            set[str](),
            list[str](),
            list[dict[str, Any]](),
            list[str](),
        )
        self.handlers = set[str]()
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.handlers |= {name for name in given if name.startswith("on")}
        if tag == "a":
            self.links.append(given.get("href") or "")
        if tag == "form":
            self.forms.append({"action": given.get("action"), "method": given.get("method"), "fields": {}})
        if tag in {"input", "select"} and self.forms:
            self.forms[-1]["fields"][given.get("name")] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def form(self, action: str) -> dict[str, Any]:
        return next(form for form in self.forms if form["action"] == action)


def page(control: httpx.Client, path: str = "/", /, **query: str) -> Page:
    answer = control.get(path, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return Page(answer.text)


def sent(control: httpx.Client, form: dict[str, Any], **fields: str) -> httpx.Response:
    assert form["method"] == "post"
    """As a browser sends it, which names the form's type even where it is empty."""
    content = urlencode({**form["fields"], **fields})
    return control.post(
        form["action"], content=content, headers={"content-type": "application/x-www-form-urlencoded"}
    )


def test_a_person_switches_a_preset_on_sees_it_and_switches_it_off(
    apollo: httpx.Client, control: httpx.Client
) -> None:
    assert "None: everything works." in page(control).text
    assert sent(control, page(control).form("/_control/presets/apollo-out-of-credits/on")).status_code == 303
    shown = page(control)
    assert "Faults: 1 on" in shown.text
    assert "Apollo: every call . 422 Insufficient credits" in shown.text
    assert apollo.post(SEARCH, json={}).status_code == 422
    sent(control, shown.form("/_control/presets/apollo-out-of-credits/off"))
    assert "None: everything works." in page(control).text
    assert apollo.post(SEARCH, json={}).status_code == 200


def test_every_preset_has_its_sentence_and_its_switch_on_the_page(control: httpx.Client) -> None:
    shown = page(control)
    for preset in PRESETS.values():
        assert preset.title in shown.text
        assert preset.then in shown.text
        assert shown.form(f"/_control/presets/{preset.name}/on")


def test_each_fault_is_switched_off_by_itself(control: httpx.Client) -> None:
    numbers = [
        control.post("/_control/faults", json={"path": "/api/v1/*/enrich", "status": status}).json()["id"]
        for status in (500, 503)
    ]
    shown = page(control)
    assert "status 500" in shown.text
    assert "status 503" in shown.text
    assert sent(control, shown.form(f"/_control/faults/{numbers[0]}/off")).status_code == 303
    left = page(control)
    assert "status 500" not in left.text
    assert "status 503" in left.text
    sent(control, left.form(f"/_control/faults/{numbers[1]}/off"))
    assert "None: everything works." in page(control).text


def test_a_fault_of_ones_own_is_made_in_the_form(
    control: httpx.Client, openai: OpenAI, sandbox: Sandbox
) -> None:
    form = page(control).form("/_control/faults")
    asked = {
        "operation",
        "path",
        "kind",
        "status",
        "retry_after",
        "latency_ms",
        "times",
        "key_last4",
        "model",
    }
    assert form["fields"].keys() == asked
    sent(
        control,
        form,
        operation="/v1/chat/completions",
        status="429",
        retry_after="7",
        times="2",
        key_last4="-key",
        model="gpt-6",
        latency_ms="10",
    )
    [fault] = sandbox.faults.listed()
    assert (fault["path"], fault["status"], fault["retry_after"], fault["times_left"]) == (
        "/v1/chat/completions",
        429,
        7,
        2,
    )
    told = page(control).text
    assert "OpenAI: completions , with a key that ends in -key , with the model gpt-6" in told
    assert "status 429; retry-after 7 s; 10 ms later than usual; 2 times more" in told


def test_a_path_that_is_typed_in_comes_before_the_list(control: httpx.Client, sandbox: Sandbox) -> None:
    form = page(control).form("/_control/faults")
    sent(control, form, operation="*", path="/api/v1/*/match", status="500")
    assert sandbox.faults.listed()[0]["path"] == "/api/v1/*/match"


def test_a_form_that_cannot_be_a_fault_says_why_on_a_page(control: httpx.Client) -> None:
    refused = sent(control, page(control).form("/_control/faults"), operation="*")
    assert refused.status_code == 422
    told = Page(refused.text)
    assert "Say what goes wrong" in told.text
    assert "/" in told.links


def test_credits_are_shown_granted_and_drained(
    apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox
) -> None:
    key = "sandbox-apollo-key-of-anna"
    apollo.post(SEARCH, json={}, headers={"x-api-key": key})
    shown = page(control)
    assert (
        "sandbox-apollo-key … anna everything works; far wider limits than Apollo's 1, 1, 1 1 99,999"
        in shown.text
    )
    number = next(
        one["account"] for one in control.get("/_control/credits").json() if one["key_last4"] == "anna"
    )

    def left() -> int:
        accounts = control.get("/_control/credits").json()
        figure: int = next(one["left"] for one in accounts if one["account"] == number)
        return figure

    grant, drain = (
        next(
            form
            for form in shown.forms
            if form["action"] == "/_control/credits"
            and form["fields"]["account"] == str(number)
            and form["fields"]["credits"] == amount
        )
        for amount in ("", "0")
    )
    assert sent(control, grant, credits="7").status_code == 303
    assert left() == 7
    assert sent(control, drain).status_code == 303
    assert left() == 0
    assert apollo.post(SEARCH, json={}, headers={"x-api-key": key}).status_code == 422
    assert sent(control, grant, credits="many").status_code == 422


def test_no_page_and_no_answer_shows_a_whole_key_of_a_caller(
    apollo: httpx.Client, control: httpx.Client
) -> None:
    apollo.post(SEARCH, json={}, headers={"x-api-key": "sandbox-apollo-key-secret-part"})
    for path in ("/", "/calls", "/_control/credits", "/_control/ledger"):
        assert "secret-part" not in control.get(path).text


def test_calls_that_hang_are_counted_on_the_page(
    apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox
) -> None:
    assert "hang now" not in page(control).text
    with sandbox.faults.one_hangs():
        shown = page(control)
        assert "1 call hangs now." in shown.text
        assert shown.form("/_control/hanging/clear")


def test_companies_are_searched_by_words_and_industry(control: httpx.Client, world: World) -> None:
    shown = page(control, "/companies", q="leeds shopify")
    fitting = [
        company
        for company in world.companies
        if company.city == "Leeds" and "Shopify" in {technology.name for technology in company.technologies}
    ]
    assert all(f"/companies/{company.id}" in shown.links for company in fitting[:25])
    assert f"of {len(fitting):,}" in shown.text
    retail = sum(company.industry == "retail" for company in world.companies)
    assert f"1 to 25 of {retail:,}" in page(control, "/companies", industry="retail").text
    assert "Nothing fits." in page(control, "/companies", q="nobody-at-all").text


def test_pages_follow_each_other_and_an_odd_number_is_taken_for_a_near_one(control: httpx.Client) -> None:
    first = page(control, "/companies", q="germany")
    assert any(link.startswith("/companies?q=germany&page=2") for link in first.links)
    assert "26 to 50 of" in page(control, "/companies", q="germany", page="2").text
    for odd in ("0", "-1", "x", "²", "9" * 30):
        assert "1 to 25 of" in page(control, "/companies", page=odd).text
    assert "2,400 of 2,400" in page(control, "/companies", page="9999").text


def test_a_companys_page_shows_its_people_its_money_and_its_news(control: httpx.Client, world: World) -> None:
    company = next(company for company in world.companies if len(company.funding) > 1)
    shown = page(control, f"/companies/{company.id}")
    for event in company.funding:
        assert f"{event.on.isoformat()} {event.stage} ${event.amount:,}" in shown.text
    assert f"${company.total_funding:,} in all" in shown.text
    assert all(article.title in shown.text for article in company.news)
    assert all(person.name in shown.text for person in world.people_of[company.id])


def test_a_company_is_found_by_its_accounts_id_too_and_an_unknown_one_is_a_404(
    control: httpx.Client, world: World
) -> None:
    known = next(company for company in world.companies if company.account_id)
    assert known.name in page(control, f"/companies/{known.account_id}").text
    assert control.get("/companies/nobody").status_code == 404


def test_people_are_searched_by_name_title_and_company(control: httpx.Client, world: World) -> None:
    person = world.people[42]
    company = world.company_of(person)
    shown = page(control, "/people", q=f"{person.name} {company.name}")
    assert person.name in shown.text
    assert f"/companies/{company.id}" in shown.links
    locked = page(control, "/people", q="email_not_unlocked")
    assert "locked" in locked.text


def test_news_is_listed_newest_first_and_by_category(control: httpx.Client, world: World) -> None:
    newest = max(article.on for company in world.companies for article in company.news)
    assert newest.isoformat() in page(control, "/news").text
    rounds = sum(len(company.funding) for company in world.companies)
    assert f"1 to 25 of {rounds:,}" in page(control, "/news", category="investment").text


def test_the_ledger_is_filtered_and_its_sums_follow(
    apollo: httpx.Client, openai: OpenAI, control: httpx.Client
) -> None:
    apollo.post(SEARCH, json={}, headers={"x-api-key": "sandbox-apollo-key-teamx"})
    apollo.post("mixed_people/api_search", json={})
    openai.chat.completions.create(model="gpt-6", messages=[{"role": "user", "content": "Hello"}])
    assert "1 to 3 of 3" in page(control, "/calls").text
    assert "Apollo.io 1 1 1 0 0" in page(control, "/calls", key="eamx").text
    assert "Apollo.io 0 0 0 0 0" in page(control, "/calls", provider="openai").text
    assert "1 to 2 of 2" in page(control, "/calls", paid="yes").text
    assert "mixed_people" not in page(control, "/calls", path="companies").text
    assert sent(control, page(control, "/calls").form("/_control/ledger/clear")).status_code == 303
    assert "Nothing fits." in page(control, "/calls").text


def test_keys_and_models_to_play_with_are_named(control: httpx.Client) -> None:
    shown = page(control).text
    for key in ("paid-plan-key", "free-limits-key", "no-scope-key", "sandbox-openai-key", "no-quota-key"):
        assert key in shown
    assert all(model in shown for model in KNOWN_MODELS)


def test_whatever_a_caller_writes_is_text_on_every_page(
    apollo: httpx.Client, control: httpx.Client, sandbox: Sandbox
) -> None:
    apollo.get("organizations/enrich", params={"domain": EVIL})
    apollo.post(f"people/{EVIL}", json={}, headers={"x-api-key": "<b>"})
    apollo.post(SEARCH, json={}, headers={"x-api-key": "sandbox-apollo-key<i>"})
    control.post(
        "/_control/faults", json={"path": f"/{EVIL}", "model": EVIL, "key_last4": "<i>", "status": 500}
    )
    pages = [page(control)] + [
        page(
            control,
            path,
            q=EVIL,
            key="<i>",
            path=EVIL,
            industry=EVIL,
            category=EVIL,
            provider=EVIL,
            page=EVIL,
        )
        for path in ("/companies", "/people", "/news", "/calls")
    ]
    pages += [page(control, "/calls"), Page(control.post("/_control/faults", data={EVIL: EVIL}).text)]
    for shown in pages:
        assert not shown.tags & {"script", "img", "i"}
        assert not shown.handlers
    assert EVIL in pages[0].text


def test_a_page_lets_nothing_load_run_or_frame_it(control: httpx.Client) -> None:
    headers = control.get("/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "script" not in page(control).tags


WRITES = [
    ("POST", "/_control/faults"),
    ("DELETE", "/_control/faults"),
    ("POST", "/_control/faults/clear"),
    ("DELETE", "/_control/faults/1"),
    ("POST", "/_control/faults/1/off"),
    ("POST", "/_control/hanging/clear"),
    ("POST", "/_control/presets/apollo-down/on"),
    ("DELETE", "/_control/ledger"),
    ("POST", "/_control/ledger/clear"),
    ("POST", "/_control/credits"),
]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://attacker.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("write", WRITES)
def test_another_web_page_cannot_move_a_switch(
    apollo: httpx.Client,
    control: httpx.Client,
    sandbox: Sandbox,
    write: tuple[str, str],
    headers: dict[str, str],
) -> None:
    apollo.post("mixed_people/api_search", json={})
    control.post("/_control/faults", json={"latency_ms": 1})
    refused = control.request(*write, headers=headers, data={"status": "500", "credits": "0", "account": "0"})
    assert refused.status_code == 403
    assert "another web page" in refused.text
    assert len(sandbox.faults.listed()) == 1
    assert len(sandbox.ledger.entries()) == 1


def test_the_pages_own_forms_are_taken(control: httpx.Client, running: Sandbox, sandbox: Sandbox) -> None:
    headers = {"origin": running.url, "sec-fetch-site": "same-origin"}
    taken = control.post("/_control/faults", headers=headers, data={"path": "*", "status": "500"})
    assert taken.status_code == 303
    assert len(sandbox.faults.listed()) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_that_was_made_to_point_here_is_refused(control: httpx.Client, method: str) -> None:
    port = control.base_url.port
    headers = {"host": f"attacker.example:{port}", "origin": f"http://attacker.example:{port}"}
    refused = control.request(method, "/_control/faults", headers=headers, json={"status": 500})
    assert refused.status_code == 403
    assert control.get("/_control/faults").json() == []
    assert control.get("/", headers={"host": f"localhost:{port}"}).status_code == 200


def test_every_link_of_the_pages_leads_somewhere(control: httpx.Client, apollo: httpx.Client) -> None:
    apollo.post(SEARCH, json={})
    seen, left = set[str](), ["/"]
    while left and len(seen) < 40:
        path = left.pop()
        answer = control.get(path)
        assert answer.status_code == 200, path
        seen.add(path)
        left += [link for link in Page(answer.text).links if re.match(r"/[^?]*$", link) and link not in seen]
