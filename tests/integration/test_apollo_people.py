"""People at Apollo: the free search, single and bulk look-ups, and what each costs."""

import json
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from chalicelib.domain import quotes
from chalicelib.domain.errors import Invalid, ProviderFailed
from chalicelib.domain.people import (
    EmailChance,
    EmailStatus,
    Employment,
    Person,
    PersonRef,
    PersonStub,
    Seniority,
    WantedPeople,
)
from chalicelib.integrations.apollo import people
from chalicelib.integrations.apollo.client import ApolloClient
from sandbox import apollo_shapes as shapes
from sandbox.records import PLACEHOLDER_EMAIL
from sandbox.records import Person as Known
from sandbox.server import Sandbox
from tests.integration.apollo_world import Reply, ScriptedServer, a_caller, credits_of, scripted

# Whom to look for

KNOWN_TO_APOLLO = {
    "person_titles",
    "include_similar_titles",
    "person_seniorities",
    "person_departments",
    "person_locations",
    "organization_ids",
    "q_organization_domains_list",
    "contact_email_status",
    "q_keywords",
}
EVERYTHING = WantedPeople(
    titles=("Head of Sales", " Head of Sales "),
    similar_titles=False,
    seniorities=(Seniority.C_SUITE, Seniority.VP),
    departments=("sales", "Engineering Technical", "c_suite"),
    locations=("Berlin",),
    company_ids=("o1",),
    company_domains=("www.Acme.example",),
    email=(EmailChance.VERIFIED, EmailChance.LIKELY_TO_ENGAGE),
    keywords=" logistics ",
)
ANYONE = WantedPeople(seniorities=(Seniority.DIRECTOR,))


def found(*rows: object, **more: object) -> Reply:
    return Reply.json({"people": list(rows), **more})


def test_whom_we_want_is_sent_in_apollos_names() -> None:
    with scripted(found()) as (apollo, server):
        apollo.search_people(a_caller(), EVERYTHING, page=2, per_page=50)
    [call] = server.received
    assert (call.method, call.path) == ("POST", "/api/v1/mixed_people/api_search")
    assert call.json == {
        "person_titles": ["Head of Sales"],
        "include_similar_titles": False,
        "person_seniorities": ["c_suite", "vp"],
        "person_departments": [
            "master_sales",
            "sales",
            "master_engineering_technical",
            "engineering_technical",
            "master_c_suite",
            "c_suite",
        ],
        "person_locations": ["Berlin"],
        "organization_ids": ["o1"],
        "q_organization_domains_list": ["acme.example"],
        "contact_email_status": ["verified", "likely to engage"],
        "q_keywords": "logistics",
        "page": 2,
        "per_page": 50,
    }


some_words = st.lists(st.text(max_size=4), max_size=2).map(tuple)


@given(
    st.builds(
        WantedPeople,
        titles=some_words,
        similar_titles=st.booleans(),
        seniorities=st.lists(st.sampled_from(Seniority), max_size=2).map(tuple),
        departments=some_words,
        locations=some_words,
        company_ids=some_words,
        company_domains=st.lists(st.sampled_from(["a.example", "www.b.example"]), max_size=2).map(tuple),
        email=st.lists(st.sampled_from(EmailChance), max_size=2).map(tuple),
        keywords=st.none() | st.text(max_size=4),
    )
)
def test_only_names_that_apollo_knows_are_ever_sent_and_never_without_a_word(wanted: WantedPeople) -> None:
    try:
        sent = people.filters(wanted)
    except Invalid:
        return  # it says nothing
    assert sent.keys() <= KNOWN_TO_APOLLO
    assert sent.keys() != {"include_similar_titles"}
    assert all(value not in ("", [], {}, [""]) for value in sent.values())


def test_every_filter_that_we_use_can_be_said() -> None:
    assert people.filters(EVERYTHING).keys() == KNOWN_TO_APOLLO


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (WantedPeople(), "no_criteria"),
        (WantedPeople(similar_titles=False), "no_criteria"),
        (WantedPeople(departments=("---",)), "no_criteria"),
        (WantedPeople(company_domains=("acme",)), "no_domain"),
    ],
)
def test_a_search_that_would_find_everybody_is_refused(wanted: WantedPeople, code: str) -> None:
    with scripted(found()) as (apollo, server), pytest.raises(Invalid) as told:
        apollo.search_people(a_caller(), wanted, page=1, per_page=25)
    assert (told.value.code, server.received) == (code, [])


def test_a_seniority_that_is_none_is_not_sent() -> None:
    with pytest.raises(ValueError, match="chief"):
        people.filters(WantedPeople(seniorities=("chief",)))  # type: ignore[arg-type]


FILTERED: dict[str, tuple[WantedPeople, Callable[[Known], bool]]] = {
    "seniority": (
        WantedPeople(seniorities=(Seniority.OWNER, Seniority.FOUNDER)),
        lambda known: known.seniority in {"owner", "founder"},
    ),
    "department": (
        WantedPeople(departments=("Human Resources",)),
        lambda p: p.department == "human_resources",
    ),
    "location": (WantedPeople(locations=("Germany",)), lambda known: known.country == "Germany"),
    "title": (
        WantedPeople(titles=("HR Manager",), similar_titles=False),
        lambda known: known.title == "HR Manager",
    ),
    "similar title": (
        WantedPeople(titles=("Manager HR",)),
        lambda known: {"HR", "Manager"} <= set((known.title or "").split()),
    ),
    "verified": (
        WantedPeople(email=(EmailChance.VERIFIED,)),
        lambda known: known.email_status == "verified",
    ),
    "keywords": (WantedPeople(keywords="logistics"), lambda _: True),
}


@pytest.mark.parametrize("name", FILTERED)
def test_each_filter_finds_whom_it_says(apollo: ApolloClient, sandbox: Sandbox, name: str) -> None:
    wanted, fits = FILTERED[name]
    page = apollo.search_people(a_caller(), wanted, page=1, per_page=100)
    assert 0 < page.total_entries < len(sandbox.world.people)
    assert all(fits(sandbox.world.person_by_id[stub.id]) for stub in page.people)


def test_a_companys_people_are_found_for_nothing(apollo: ApolloClient, sandbox: Sandbox) -> None:
    company = max(sandbox.world.companies, key=lambda one: len(sandbox.world.people_of[one.id]))
    staff = {person.id: person for person in sandbox.world.people_of[company.id]}
    caller = a_caller()
    by_domain = WantedPeople(company_domains=(company.domain,))
    page = apollo.search_people(caller, by_domain, page=1, per_page=100)
    assert {stub.id for stub in page.people} == staff.keys()
    assert (page.total_entries, page.total_pages) == (len(staff), 1)
    for stub in page.people:
        known = staff[stub.id]
        assert (stub.first_name, stub.title, stub.company_name) == (
            known.first_name,
            known.title,
            company.name,
        )
        assert stub.has_email is (known.email is not None)
        assert stub.has_direct_phone is (True if known.mobile else None)
        assert known.last_name not in (stub.last_name_hint or "")
    assert credits_of(caller) == sandbox.ledger.entries()[0].credits == 0


def test_pages_are_counted_from_the_total_since_apollo_does_not_count_them(apollo: ApolloClient) -> None:
    pages = [apollo.search_people(a_caller(), ANYONE, page=number, per_page=20) for number in (1, 2)]
    assert len({stub.id for page in pages for stub in page.people}) == 40
    assert pages[0].total_pages == -(-pages[0].total_entries // 20)


def test_only_pages_that_apollo_shows_are_counted() -> None:
    with scripted(found(total_entries=9_000_000)) as (apollo, _):
        page = apollo.search_people(a_caller(), ANYONE, page=1, per_page=100)
    assert (page.total_pages, page.total_entries) == (500, 9_000_000)


@pytest.mark.parametrize(("page", "per_page"), [(501, 100), (501, 1), (0, 25), (1, 101)])
def test_a_page_beyond_fifty_thousand_people_is_refused_before_the_call(page: int, per_page: int) -> None:
    with scripted(found()) as (apollo, server), pytest.raises(Invalid):
        apollo.search_people(a_caller(), ANYONE, page=page, per_page=per_page)
    assert server.received == []


def test_a_bad_stub_is_left_out_and_the_others_stay() -> None:
    rows = [
        None,
        {"first_name": "Nobody"},
        {"id": "p1", "first_name": ["x"], "title": 4.5, "has_email": "true", "has_direct_phone": "No"},
        {"id": "p2", "first_name": PLACEHOLDER_EMAIL, "has_email": True, "has_direct_phone": "maybe: ask"},
        {"id": "p2", "first_name": "Ada", "has_email": True, "has_direct_phone": " YES ", "organization": 3},
    ]
    with scripted(found(*rows, total_entries=None)) as (apollo, _):
        page = apollo.search_people(a_caller(), ANYONE, page=1, per_page=25)
    assert page.people == (
        PersonStub("p1", None, None, None, None, has_email=False, has_direct_phone=False),
        PersonStub("p2", "Ada", None, None, None, has_email=True, has_direct_phone=True),
    )
    assert page.total_entries == 3


# One person


def somebody(sandbox: Sandbox, fits: Callable[[Known], object]) -> Known:
    return next(person for person in sandbox.world.people if fits(person))


def with_address(known: Known) -> bool:
    return known.email is not None and known.email != PLACEHOLDER_EMAIL


BY: dict[str, Callable[[Known, str], PersonRef]] = {
    "id": lambda known, _: PersonRef(id=known.id),
    "e-mail": lambda known, _: PersonRef(email=(known.email or "").upper()),
    "profile": lambda known, _: PersonRef(linkedin_url=known.linkedin_url),
    "name and domain": lambda known, domain: PersonRef(name=known.name, domain=domain),
}


@pytest.mark.parametrize("way", BY)
def test_a_person_is_looked_up_in_each_way_for_one_credit(
    apollo: ApolloClient, sandbox: Sandbox, way: str
) -> None:
    known = somebody(sandbox, lambda one: with_address(one) and one.mobile)
    company = sandbox.world.company_of(known)
    caller = a_caller(call_id="use_5")
    person = apollo.match(caller, BY[way](known, company.domain))
    assert person is not None
    assert (person.id, person.name, person.email) == (known.id, known.name, known.email)
    assert (person.company_id, person.company_name, person.company_domain) == (
        company.id,
        company.name,
        company.domain,
    )
    assert (person.city, person.country, person.title) == (known.city, known.country, known.title)
    assert person.seniority == known.seniority
    assert person.departments == (known.department,)
    assert person.employment[0].is_current
    assert person.employment[0].started_at == known.since.isoformat()
    assert person.mobile is None
    [entry] = sandbox.ledger.entries()
    assert (entry.call, entry.credits, credits_of(caller)) == ("use_5", 1, 1)


def test_a_mobile_number_comes_only_when_it_is_asked_for_and_costs_eight_more(
    apollo: ApolloClient, sandbox: Sandbox
) -> None:
    known = somebody(sandbox, lambda one: one.mobile)
    caller = a_caller()
    person = apollo.match(caller, PersonRef(id=known.id, mobile=True))
    assert person is not None
    assert person.mobile == "+" + "".join(filter(str.isdigit, known.mobile or ""))
    assert credits_of(caller) == sandbox.ledger.entries()[0].credits == 9
    assert quotes.MATCH_PERSON_WITH_MOBILE.credits == 9


def test_asking_for_a_number_that_nobody_has_costs_one(apollo: ApolloClient, sandbox: Sandbox) -> None:
    known = somebody(sandbox, lambda one: not one.mobile)
    caller = a_caller()
    person = apollo.match(caller, PersonRef(id=known.id, mobile=True))
    assert person is not None
    assert person.mobile is None
    assert credits_of(caller) == sandbox.ledger.entries()[0].credits == 1


def test_a_number_is_not_asked_for_unless_the_reference_says_so() -> None:
    with scripted(Reply.json({"person": None})) as (apollo, server):
        apollo.match(a_caller(), PersonRef(id="p1"))
        apollo.match(a_caller(), PersonRef(id="p1", mobile=True))
        apollo.match_many(a_caller(), [PersonRef(id="p1"), PersonRef(id="p2")])
        apollo.match_many(a_caller(), [PersonRef(id="p1", mobile=True)])
    assert [call.json for call in server.received] == [
        {"id": "p1"},
        {"id": "p1", "reveal_phone_number": True},
        {"details": [{"id": "p1"}, {"id": "p2"}]},
        {"details": [{"id": "p1"}], "reveal_phone_number": True},
    ]


def test_nobody_costs_nothing(apollo: ApolloClient, sandbox: Sandbox) -> None:
    caller = a_caller()
    assert apollo.match(caller, PersonRef(email="nobody@nowhere.example")) is None
    assert credits_of(caller) == sandbox.ledger.entries()[0].credits == 0


@pytest.mark.parametrize(
    "ref",
    [
        PersonRef(),
        PersonRef(id=" "),
        PersonRef(name="Ada Lovelace"),
        PersonRef(domain="acme.example"),
        PersonRef(email="ada"),
        PersonRef(email=PLACEHOLDER_EMAIL),
        PersonRef(linkedin_url="linkedin.com/in/ada"),
        PersonRef(name=PLACEHOLDER_EMAIL, domain="acme.example", mobile=True),
    ],
)
def test_a_reference_that_names_nobody_is_refused_before_it_costs(ref: PersonRef) -> None:
    with scripted(Reply.json({"person": None})) as (apollo, server):
        for ask in (lambda: apollo.match(a_caller(), ref), lambda: apollo.match_many(a_caller(), [ref])):
            with pytest.raises(Invalid) as told:
                ask()
            assert told.value.code == "no_person"
    assert server.received == []


@pytest.mark.parametrize(
    ("told", "credits_due"), [(4, 4), (0, 0), (None, 9), (True, 9), (-1, 9), (10**9, 9), ("1", 9)]
)
def test_what_apollo_says_it_took_is_booked_else_what_its_answer_costs(
    told: object, credits_due: int
) -> None:
    answer = {
        "credits_consumed": told,
        "person": {"id": "p1", "phone_numbers": [{"type_cd": "mobile", "sanitized_number": "+4930123456"}]},
    }
    caller = a_caller()
    with scripted(Reply.json(answer)) as (apollo, _):
        apollo.match(caller, PersonRef(id="p1", mobile=True))
    assert credits_of(caller) == credits_due


def test_an_answer_that_cannot_be_read_is_booked_with_the_number_that_may_be_in_it() -> None:
    for mobile, credits_due in ((False, 1), (True, 9)):
        caller = a_caller()
        with scripted(Reply(200, b"nonsense")) as (apollo, _), pytest.raises(ProviderFailed):
            apollo.match(caller, PersonRef(id="p1", mobile=mobile))
        assert credits_of(caller) == credits_due


# What is believed of a person


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("verified", EmailStatus.VERIFIED),
        ("Verified ", EmailStatus.VERIFIED),
        ("extrapolated", EmailStatus.GUESSED),
        ("unavailable", EmailStatus.UNVERIFIED),
        ("likely to engage", EmailStatus.UNVERIFIED),
        (None, EmailStatus.UNVERIFIED),
        (["verified"], EmailStatus.UNVERIFIED),
    ],
)
def test_how_good_an_address_is_is_told_in_our_words(word: object, status: EmailStatus) -> None:
    row = {"id": "p1", "name": "Ada", "email": "Ada@Acme.example", "email_status": word}
    with scripted(Reply.json({"person": row})) as (apollo, _):
        person = apollo.match(a_caller(), PersonRef(id="p1"))
    assert person is not None
    assert (person.email, person.email_status) == ("ada@acme.example", status)


@pytest.mark.parametrize(
    "address",
    [
        PLACEHOLDER_EMAIL,
        " Email_Not_Unlocked@Domain.com ",
        "email_not_unlocked@acme.example",
        None,
        "",
        "ada",
        "ada@acme",
        "ada@acme.example, bob@acme.example",
        "ada lovelace@acme.example",
        "ada@acme.example\nbcc: x@y.example",
        7,
        "a" * 300 + "@acme.example",
    ],
)
def test_what_is_no_address_is_none(address: object) -> None:
    row = {"id": "p1", "name": "Ada", "email": address, "email_status": "verified"}
    with scripted(Reply.json({"person": row})) as (apollo, _):
        person = apollo.match(a_caller(), PersonRef(id="p1"))
    assert person == Person(id="p1", name="Ada")


def test_the_sandboxs_placeholders_are_no_addresses(apollo: ApolloClient, sandbox: Sandbox) -> None:
    unseen = [one for one in sandbox.world.people if one.email == PLACEHOLDER_EMAIL][:10]
    assert len(unseen) == 10
    refs = [PersonRef(id=one.id) for one in unseen]
    persons = [*apollo.match_many(a_caller(), refs).values(), apollo.match(a_caller(), refs[0])]
    assert {person.email for person in persons if person} == {None}
    assert {person.email_status for person in persons if person} == {EmailStatus.NONE}


def locked(value: Any) -> Any:
    """The same, with the placeholder in every text but what says who it is."""
    if isinstance(value, dict):
        return {name: inner if name == "id" else locked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [locked(inner) for inner in value]
    return f"http://x.example/{PLACEHOLDER_EMAIL.title()}" if isinstance(value, str) else value


def test_the_placeholder_is_dropped_wherever_it_stands(sandbox: Sandbox) -> None:
    """Seen red with `headline` taken as it is, and with links that hold it."""
    known = somebody(sandbox, lambda one: one.mobile)
    row = locked(json.loads(json.dumps(shapes.full_person(sandbox.world, known, reveal_phone=True))))
    with scripted(Reply.json({"person": row, "matches": [row], "people": [row]})) as (apollo, _):
        told = [
            apollo.match(a_caller(), PersonRef(id=known.id)),
            apollo.match_many(a_caller(), [PersonRef(id=known.id)]),
            apollo.search_people(a_caller(), ANYONE, page=1, per_page=25),
        ]
    assert known.id in repr(told)
    assert "not_unlocked" not in repr(told).lower()


def test_facts_of_the_wrong_type_or_beyond_reason_are_unknown() -> None:
    row = {
        "id": 7,
        "first_name": "Ada",
        "last_name": "Lovelace\x00",
        "name": None,
        "title": ["CEO"],
        "headline": "x" * 400,
        "seniority": "emperor",
        "departments": ["master_sales", 3.5, "c_suite", "master_sales"],
        "functions": {"sales": 1},
        "linkedin_url": "javascript:alert(1)",
        "city": 4.5,
        "organization": "Acme",
        "organization_id": None,
        "phone_numbers": [
            None,
            {"type_cd": "work", "sanitized_number": "+49301"},
            {"type_cd": "mobile", "sanitized_number": "call me"},
        ],
        "employment_history": [
            "x",
            {},
            {"organization_name": "Old", "title": "Clerk", "start_date": "2001-01-01", "current": "yes"},
            {"organization_name": "New", "start_date": "soon", "current": True},
        ],
    }
    with scripted(Reply.json({"person": row})) as (apollo, _):
        person = apollo.match(a_caller(), PersonRef(id="7"))
    assert person == Person(
        id="7",
        name="Ada Lovelace",
        first_name="Ada",
        last_name="Lovelace",
        headline="x" * 255,
        departments=("sales", "c_suite"),
        employment=(
            Employment("New", None, is_current=True),
            Employment("Old", "Clerk", is_current=False, started_at="2001-01-01"),
        ),
    )


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([PLACEHOLDER_EMAIL, f"write to {PLACEHOLDER_EMAIL.upper()}", "p1"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    *("id", "first_name", "last_name", "last_name_obfuscated", "name", "title", "headline", "email"),
    *("email_status", "linkedin_url", "city", "state", "country", "organization_id", "departments"),
    *("functions", "seniority", "phone_numbers", "has_email", "has_direct_phone"),
]
INNER = ["organization_name", "title", "start_date", "name", "primary_domain", "id", "current"]
objects = st.dictionaries(st.sampled_from(INNER), junk, max_size=4)
persons = (
    st.builds(
        lambda row, employer, jobs: {"id": "p1", **row, "organization": employer, "employment_history": jobs},
        st.dictionaries(st.sampled_from(FIELDS), junk, max_size=8),
        objects | junk,
        st.lists(objects | junk, max_size=2) | junk,
    )
    | junk
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "person": persons,
            "people": st.lists(persons, max_size=3) | junk,
            "matches": st.lists(persons, max_size=3) | junk,
            "total_entries": junk,
            "credits_consumed": junk,
        },
    )
)
def test_no_answer_is_too_strange_and_no_placeholder_comes_through(answer: dict[str, Any]) -> None:
    page = people.person_page(answer, page=1, per_page=25)
    one = people.person(answer)
    many = people.people(answer, asked=[PersonRef(id="p1"), PersonRef(email="a@b.example")])
    assert "email_not_unlocked" not in repr((page, one, many)).lower()
    assert all(stub.id for stub in page.people)
    for price in (people.price_of_one, people.price_of_many):
        assert all(0 <= price(answer, mobile=mobile) <= 1_000 for mobile in (False, True))


# Several at once


def matches(*rows: object, **more: object) -> Reply:
    return Reply.json({"status": "success", "matches": list(rows), **more})


def person(person_id: str, **more: object) -> dict[str, object]:
    return {"id": person_id, "name": person_id.upper(), **more}


def test_ten_people_are_one_call_and_what_apollo_took_for_them(
    apollo: ApolloClient, sandbox: Sandbox
) -> None:
    known = sandbox.world.people[20:29]
    refs = [*(PersonRef(id=one.id, mobile=True) for one in known), PersonRef(id="nobody", mobile=True)]
    caller = a_caller(call_id="use_8")
    answer = apollo.match_many(caller, refs)
    assert list(answer) == refs
    assert [one and one.id for one in answer.values()] == [*(one.id for one in known), None]
    [entry] = sandbox.ledger.entries()
    due = sum(9 if one.mobile else 1 for one in known)
    assert (entry.call, entry.credits, credits_of(caller)) == ("use_8", due, due)
    assert due <= quotes.match_people(10, mobile=True).credits == 90


def test_a_bulk_call_and_single_ones_tell_the_same(apollo: ApolloClient, sandbox: Sandbox) -> None:
    known = [one for one in sandbox.world.people if with_address(one)][:6]
    refs = [
        *(PersonRef(id=one.id) for one in known[:2]),
        *(PersonRef(email=(one.email or "").title()) for one in known[2:4]),
        PersonRef(linkedin_url=f"{known[4].linkedin_url}/"),
        PersonRef(name=known[5].name.upper(), domain=sandbox.world.company_of(known[5]).domain),
    ]
    singly = {ref: apollo.match(a_caller(), ref) for ref in refs}
    assert None not in singly.values()
    assert apollo.match_many(a_caller(), refs) == singly


def test_people_are_told_apart_by_id_and_not_by_place() -> None:
    """Seen red with the rows taken in the order in which they were asked for."""
    refs = [PersonRef(id=one) for one in ("a", "b", "c")]
    with scripted(matches(person("c"), None, person("x"), person("a"))) as (apollo, _):
        answer = apollo.match_many(a_caller(), refs)
    assert [one and one.id for one in answer.values()] == ["a", None, "c"]


def test_who_was_asked_for_by_id_is_nobody_else_of_the_same_address() -> None:
    ref = PersonRef(id="a", email="ada@acme.example")
    with scripted(matches(person("b", email="ada@acme.example"))) as (apollo, _):
        assert apollo.match_many(a_caller(), [ref]) == {ref: None}


def test_the_same_person_twice_is_asked_for_once(apollo: ApolloClient, sandbox: Sandbox) -> None:
    ref = PersonRef(id=sandbox.world.people[0].id)
    caller = a_caller()
    assert list(apollo.match_many(caller, [ref, ref])) == [ref]
    assert credits_of(caller) == 1


@pytest.mark.parametrize(
    ("told", "credits_due"), [(3, 3), (0, 0), (None, 10), ("3", 10), (-3, 10), (10**6, 10)]
)
def test_a_bulk_calls_credits_are_apollos_figure_else_those_of_its_people(
    told: object, credits_due: int
) -> None:
    """One with a number, who stands there twice, and one without."""
    mobile = {"phone_numbers": [{"type_cd": "mobile", "sanitized_number": "+4930123456"}]}
    rows = [person("a", **mobile), person("a", **mobile), None, person("b")]
    caller = a_caller()
    with scripted(matches(*rows, credits_consumed=told)) as (apollo, _):
        apollo.match_many(caller, [PersonRef(id=one, mobile=True) for one in ("a", "b", "c")])
    assert credits_of(caller) == credits_due


def test_an_unreadable_bulk_answer_is_booked_at_worst() -> None:
    for mobile, worst in ((False, 2), (True, 18)):
        caller = a_caller()
        with scripted(Reply(200, b"nonsense")) as (apollo, _), pytest.raises(ProviderFailed):
            apollo.match_many(caller, [PersonRef(id=one, mobile=mobile) for one in ("a", "b")])
        assert credits_of(caller) == worst


def refused(refs: list[PersonRef], server: ScriptedServer, apollo: ApolloClient) -> str:
    with pytest.raises(Invalid) as told:
        apollo.match_many(a_caller(), refs)
    assert server.received == []
    return told.value.code


def test_more_than_ten_and_mixed_wishes_are_refused_before_they_cost() -> None:
    with scripted(matches()) as (apollo, server):
        assert refused([PersonRef(id=str(n)) for n in range(11)], server, apollo) == "too_many_at_once"
        mixed = [PersonRef(id="a", mobile=True), PersonRef(id="b")]
        assert refused(mixed, server, apollo) == "mixed_mobile"
        assert apollo.match_many(a_caller(), []) == {}
    assert server.received == []
