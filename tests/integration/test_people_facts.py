"""A person is paid for once, by Apollo's own books, however they are asked for."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import pytest

from bench.tenant import registered
from chalicelib.agents.base import AgentModel, Call, RunContext
from chalicelib.domain.facts import people_page, person_as
from chalicelib.domain.people import PersonAnswer, PersonPage, PersonRef, Seniority, WantedPeople
from chalicelib.domain.quotes import MATCH_PERSON, MATCH_PERSON_WITH_MOBILE, SEARCH_PEOPLE
from chalicelib.domain.runs import Trigger
from chalicelib.integrations.apollo.client import ApolloClient
from chalicelib.services.runs import start
from chalicelib.services.runs.context import Providers
from sandbox.server import Sandbox
from tests.builders import rows
from tests.conftest import World
from tests.fakes.providers import ScriptedModel

CHIEFS = WantedPeople(titles=("CEO", "Founder"), seniorities=(Seniority.C_SUITE, Seniority.FOUNDER))


@dataclass(slots=True)
class Finder:
    """An agent that finds people, then looks each up as it is told to."""

    wanted: WantedPeople = CHIEFS
    as_what: str = "id"
    mobile: bool = False
    found: list[PersonAnswer] = field(default_factory=list)

    def run(self, run: RunContext, _inputs: AgentModel, _config: AgentModel) -> None:
        page = run.step(
            "people:1",
            lambda call: call.people.search_people(call.caller, self.wanted, page=1, per_page=25),
            returns=PersonPage,
            pays=SEARCH_PEOPLE,
            keeps=people_page(self.wanted, page=1, per_page=25),
        )
        refs = [PersonRef(id=stub.id, mobile=self.mobile) for stub in page.people if stub.has_email][:3]
        if self.as_what == "email":
            refs = [
                PersonRef(email=answer.person.email, mobile=self.mobile)
                for answer in self.found
                if answer.person and answer.person.email
            ]
        self.found = run.map(
            refs,
            key=lambda ref: f"match:{ref.id or ref.email}",
            work=self._matched,
            returns=PersonAnswer,
            pays=MATCH_PERSON_WITH_MOBILE if self.mobile else MATCH_PERSON,
            keeps=person_as,
        )

    @staticmethod
    def _matched(call: Call, ref: PersonRef) -> PersonAnswer:
        return PersonAnswer(call.people.match(call.caller, ref))


@dataclass(slots=True)
class Place:
    world: World
    sandbox: Sandbox
    finder: Finder
    providers: Providers

    def run(self) -> Counter[str]:
        """One run; which calls it made, by the provider's own books."""
        before = len(self.sandbox.ledger.entries())
        with self.world.database.enter(self.world.ours.manager) as work:
            run = start.start(work, agent_type="finder", config_id=None, inputs={}, trigger=Trigger.MANUAL)
        self.world.settle(self.providers)
        (row,) = rows(
            self.world.database,
            self.world.ours.manager,
            "SELECT status, error FROM agent_runs WHERE id = :id",
            id=run.id,
        )
        assert row.status == "completed", row.error
        return Counter(
            entry.path.rpartition("/api/v1/")[2] for entry in self.sandbox.ledger.entries()[before:]
        )


@pytest.fixture
def place(world: World) -> Iterator[Place]:
    with a_place(world) as made:
        yield made


@contextmanager
def a_place(world: World) -> Iterator[Place]:
    finder = Finder()
    with (
        Sandbox() as sandbox,
        closing(ApolloClient("sandbox-apollo-key", sandbox.apollo_url)) as apollo,
        registered("finder", finder.run),
    ):
        yield Place(world, sandbox, finder, Providers(apollo, ScriptedModel(), people=apollo))


def test_people_are_searched_for_and_matched_once(place: Place) -> None:
    """Seen red with `keeps` left out of the map."""
    assert place.run() == {"mixed_people/api_search": 1, "people/match": 3}
    assert place.run() == {}


def test_the_order_of_titles_makes_no_other_search(place: Place) -> None:
    place.run()
    place.finder.wanted = WantedPeople(titles=("Founder", "CEO"), seniorities=CHIEFS.seniorities[::-1])
    assert place.run() == {}


def test_who_was_matched_by_id_is_known_by_the_address(place: Place) -> None:
    """Seen red with the answer's own address left out of its keys."""
    place.run()
    first = place.finder.found
    assert all(answer.person and answer.person.email for answer in first)
    place.finder.as_what = "email"
    assert place.run() == {}
    assert place.finder.found == first


def test_a_number_that_was_not_asked_for_is_asked_for_and_then_serves_those_who_do_not_need_it(
    place: Place,
) -> None:
    """Seen red with one kind of key for both questions: nobody ever got a number."""
    place.run()
    place.finder.mobile = True
    assert place.run() == {"people/match": 3}
    assert place.run() == {}
    assert any(answer.person and answer.person.mobile for answer in place.finder.found)
    place.finder.mobile = False
    assert place.run() == {}


def test_one_question_with_the_number_answers_the_plain_one(world: World) -> None:
    """The number first: who asks without it afterwards pays nothing. Seen red without the plain keys."""
    with a_place(world) as place:
        place.finder.mobile = True
        assert place.run()["people/match"] == 3
        place.finder.mobile = False
        assert place.run() == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PersonRef(linkedin_url="https://linkedin.example/in/Ada/"), PersonRef(linkedin_url="http://linkedin.example/in/ada")),
        (PersonRef(name="Ada  Example", domain="www.acme.example"), PersonRef(name="ada example", domain="Acme.example")),
        (PersonRef(email=" Ada@acme.example"), PersonRef(email="ada@ACME.example")),
    ],
)  # fmt: skip
def test_the_same_person_spelled_otherwise_is_the_same_question(one: PersonRef, other: PersonRef) -> None:
    assert person_as(one).under == person_as(other).under
    assert not any("ada" in key for key in person_as(one).under)
