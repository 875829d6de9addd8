"""Apollo's endpoints: what each takes, answers and costs, and the odd forms of its errors."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from sandbox import apollo_shapes as shapes
from sandbox.apollo_accounts import Account, Accounts, OutOfCredits, Plan, TooManyCalls
from sandbox.apollo_filters import BadParameter, Searches
from sandbox.records import Company, Person
from sandbox.text import stable_hash
from sandbox.wire import Answer, Request, Response, json_response, text_response
from sandbox.world import World

PREFIX: Final = "/api/v1/"
BARE_PREFIX: Final = "/v1/"  # an older base address: it answers, with nothing
MOST_ROWS: Final = 50_000
MOST_A_PAGE: Final = 100
MOST_PAGES: Final = 500
MOST_ARTICLES_A_PAGE: Final = 25
DEFAULT_A_PAGE: Final = 25
MOST_IN_BULK: Final = 10
MOBILE_CREDITS: Final = 8

SEARCH_COMPANIES: Final = "mixed_companies/search"
SEARCH_PEOPLE: Final = "mixed_people/api_search"
NEWS: Final = "news_articles/search"
ENDPOINTS: Final[Mapping[str, tuple[str, str]]] = {  # method and the group whose limits count
    SEARCH_COMPANIES: ("POST", "search"),
    SEARCH_PEOPLE: ("POST", "search"),
    "organizations/enrich": ("GET", "enrichment"),
    "organizations/bulk_enrich": ("POST", "enrichment"),
    "people/match": ("POST", "enrichment"),
    "people/bulk_match": ("POST", "enrichment"),
    NEWS: ("POST", "search"),
    "usage_stats/api_usage_stats": ("POST", "enrichment"),
    "usage_stats/credit_usage_stats": ("POST", "enrichment"),
}
USAGE: Final = frozenset({"usage_stats/api_usage_stats", "usage_stats/credit_usage_stats"})
OUT_OF_CREDITS: Final[Mapping[str | None, int]] = {"no_credit": 422, "payment_required": 402}
HEALTH: Final = "auth/health"
RETIRED: Final = frozenset({"mixed_people/search", "people/search", "organizations/search"})

Reply: TypeAlias = tuple[Any, int, str]  # the JSON, its credits, the subject


class BadBulk(ValueError):
    """A bulk call's 400; the code and the words are Apollo's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Apollo:
    def __init__(self, world: World, clock: Callable[[], float] = time.time) -> None:
        self.accounts = Accounts(clock)
        self._world = world
        self._searches = Searches(world)
        self._replies: Mapping[str, Callable[[Request], Reply]] = {
            SEARCH_COMPANIES: self._search_companies,
            SEARCH_PEOPLE: self._search_people,
            "organizations/enrich": self._enrich,
            "organizations/bulk_enrich": self._bulk_enrich,
            "people/match": self._match,
            "people/bulk_match": self._bulk_match,
            NEWS: self._search_news,
        }

    def answer(self, request: Request, kind: str | None = None) -> Answer:
        """The answer, charged to the key. `kind` is a fault that stands for what the key would do."""
        if request.path.startswith(BARE_PREFIX):
            return Answer(json_response(200, _no_rows()))
        endpoint = request.path.removeprefix(PREFIX)
        key = request.key_for("apollo")
        if key.startswith("bad") or kind == "bad_key":
            return Answer(_bad_key())
        account = self.accounts.find(key)
        if endpoint == HEALTH:
            return Answer(json_response(200, {"healthy": True, "is_logged_in": account is not None}))
        if account is None:
            return Answer(_bad_key())
        if refusal := _refused(request, endpoint, account.plan, may_call=kind != "free_plan"):
            return Answer(refusal)
        return self._counted(request, endpoint, account, kind)

    def _counted(self, request: Request, endpoint: str, account: Account, kind: str | None) -> Answer:
        try:
            headers = self.accounts.count_call(account, endpoint, ENDPOINTS[endpoint][1])
        except TooManyCalls as refusal:
            return Answer(too_many_calls(endpoint, refusal.limit, refusal.window, refusal.retry_after))
        try:
            content, credits_due, subject = self._reply(request, endpoint, account)
            self.accounts.charge(account, credits_due, empty=kind in OUT_OF_CREDITS)
        except OutOfCredits:
            told = {"error": "Insufficient credits. Please upgrade your plan."}
            return Answer(json_response(OUT_OF_CREDITS.get(kind, 422), told, headers))
        except BadParameter as error:
            return Answer(json_response(422, {"error": str(error)}, headers))
        except BadBulk as error:
            return Answer(json_response(400, _failed_bulk(error), headers))
        if kind == "reordered":
            content = _reordered(content)
        return Answer(json_response(200, content, headers), subject=subject, credits=credits_due)

    def _reply(self, request: Request, endpoint: str, account: Account) -> Reply:
        if endpoint == "usage_stats/credit_usage_stats":
            return self.accounts.credit_usage(account), 0, ""
        if endpoint == "usage_stats/api_usage_stats":
            groups = {name: group for name, (_, group) in ENDPOINTS.items()}
            return self.accounts.api_usage(account, groups), 0, ""
        return self._replies[endpoint](request)

    def _search_companies(self, request: Request) -> Reply:
        page, per_page = _paging(request.parameters)
        found = self._searches.companies(request.parameters)
        rows = found[(page - 1) * per_page : page * per_page]
        content = {
            "breadcrumbs": [],
            "partial_results_only": False,
            "disable_eu_prospecting": False,
            "partial_results_limit": 10_000,
            "pagination": _pagination(page, per_page, len(found)),
            "accounts": [shapes.account_row(company) for company in rows if company.account_id],
            "organizations": [shapes.search_row(company) for company in rows if not company.account_id],
            "model_ids": [company.account_id or company.id for company in rows],
            "num_fetch_result": None,
            "derived_params": None,
        }
        return content, 1 if rows else 0, f"page {page}"

    def _search_people(self, request: Request) -> Reply:
        page, per_page = _paging(request.parameters)
        found = self._searches.people(request.parameters)
        rows = found[(page - 1) * per_page : page * per_page]
        stubs = [shapes.stub(person, self._world.company_of(person)) for person in rows]
        return {"total_entries": len(found), "people": stubs}, 0, f"page {page}"

    def _search_news(self, request: Request) -> Reply:
        if not request.parameters.get("organization_ids"):
            raise BadParameter("organization_ids is required")
        page, per_page = _paging(request.parameters, most=MOST_ARTICLES_A_PAGE)
        found = self._searches.news(request.parameters)
        rows = found[(page - 1) * per_page : page * per_page]
        content = {
            "pagination": _pagination(page, per_page, len(found)),
            "news_articles": [shapes.article(company, article) for company, article in rows],
        }
        return content, 1 if rows else 0, f"news, page {page}"

    def _enrich(self, request: Request) -> Reply:
        wanted = request.parameters
        if not any(wanted.get(name) for name in ("domain", "linkedin_url", "name", "website")):
            raise BadParameter("Please provide at least one of domain, linkedin_url, name or website.")
        company = self._company(wanted)
        if company is None:
            return {"organization": None}, 0, str(wanted.get("domain", ""))
        return {"organization": shapes.enriched(company)}, 1, company.domain

    def _bulk_enrich(self, request: Request) -> Reply:
        details = _details(request, alternative="domains")
        found = {company.id: company for company in map(self._company, details) if company}
        asked = {str(one.get("domain") or one.get("linkedin_url") or one.get("name")) for one in details}
        missing = sum(self._company(one) is None for one in details)
        content = {
            "status": "success",
            "error_code": None,
            "error_message": None,
            "total_requested_domains": len(details),
            "unique_domains": len(asked),
            "unique_enriched_records": len(found),
            "missing_records": missing,
            # In an order of Apollo's own: nobody may rely on the places.
            "organizations": [shapes.enriched(found[one]) for one in sorted(found)],
        }
        return content, len(found), ",".join(company.domain for company in found.values())

    def _match(self, request: Request) -> Reply:
        wanted = request.parameters
        person = self._person(wanted)
        request_id = _request_id(request)
        if person is None:
            return {"person": None, "request_id": request_id}, 0, _asked_for(wanted)
        reveal = _true(wanted.get("reveal_phone_number"))
        content = {
            "person": shapes.full_person(self._world, person, reveal_phone=reveal),
            "request_id": request_id,
        }
        return content, _price(person, reveal=reveal), person.id

    def _bulk_match(self, request: Request) -> Reply:
        details = _details(request)
        reveal = _true(request.parameters.get("reveal_phone_number"))
        people = [self._person(one) for one in details]
        unique = {person.id: person for person in people if person}
        price = sum(_price(person, reveal=reveal) for person in unique.values())
        content = {
            "status": "success",
            "error_code": None,
            "error_message": None,
            "total_requested_enrichments": len(details),
            "unique_enriched_records": len(unique),
            "missing_records": people.count(None),
            "credits_consumed": price,
            "matches": [
                shapes.full_person(self._world, person, reveal_phone=reveal) if person else None
                for person in people
            ],
        }
        return content, price, ",".join(unique)

    def _company(self, wanted: Mapping[str, Any]) -> Company | None:
        """By what says most about it first: id, domain, website, profile, name."""
        world = self._world
        domain = str(wanted.get("domain") or _host(str(wanted.get("website") or ""))).lower().strip()
        return (
            world.by_id.get(str(wanted.get("organization_id") or wanted.get("id") or ""))
            or world.by_domain.get(domain.removeprefix("www."))
            or world.by_company_linkedin.get(_profile(wanted))
            or world.by_company_name.get(
                str(wanted.get("name") or wanted.get("organization_name") or "").lower()
            )
        )

    def _person(self, wanted: Mapping[str, Any]) -> Person | None:
        world = self._world
        exact = (
            world.person_by_id.get(str(wanted.get("id") or ""))
            or world.person_by_email.get(str(wanted.get("email") or "").lower())
            or world.person_by_linkedin.get(_profile(wanted))
        )
        if exact:
            return exact
        name = str(wanted.get("name") or f"{wanted.get('first_name', '')} {wanted.get('last_name', '')}")
        employer = {name: value for name, value in wanted.items() if name in {"domain", "organization_name"}}
        company = self._company(employer)
        staff = world.people_of[company.id] if company else ()
        return next((person for person in staff if person.name.lower() == name.strip().lower()), None)


def is_apollos(path: str) -> bool:
    """Whether the path is Apollo's, by its own base or, for its endpoints alone, by the bare one."""
    bare = path.removeprefix(BARE_PREFIX)
    return path.startswith(PREFIX) or (
        bare != path and (bare in ENDPOINTS or bare in RETIRED or bare == HEALTH)
    )


def too_many_calls(endpoint: str, limit: int, window: str, retry_after: int) -> Response:
    message = (
        f"The maximum number of api calls allowed for api/v1/{endpoint} is {limit} times per {window}. "
        "Please upgrade your plan from https://app.apollo.io/#/settings/plans/upgrade."
    )
    return json_response(429, {"message": message}, {"retry-after": str(retry_after)})


def _bad_key() -> Response:
    return text_response(401, "Invalid API key. Please check your key and try again.")


def _refused(request: Request, endpoint: str, plan: Plan, *, may_call: bool) -> Response | None:
    if endpoint in RETIRED:
        hint = "This endpoint is deprecated for API callers. Please use the new endpoint"
        return json_response(422, {"error": f"{hint}: see https://docs.apollo.io/."})
    if endpoint not in ENDPOINTS or request.method != ENDPOINTS[endpoint][0]:
        return json_response(404, {"status": 404, "error": "Not Found"})
    if not plan.has_api or not may_call:
        return _inaccessible(
            endpoint, " on a free plan. Please upgrade your plan from https://app.apollo.io/."
        )
    if endpoint in USAGE and not plan.sees_usage:
        return _inaccessible(endpoint, ". Use a master key, or one with the scope of this endpoint.")
    return None


def _inaccessible(endpoint: str, why: str) -> Response:
    message = f"api/v1/{endpoint} is not accessible with this api_key{why}"
    return json_response(403, {"error": message, "error_code": "API_INACCESSIBLE"})


def _reordered(content: Any) -> Any:
    """A bulk answer from behind, without the nulls of what was not found."""
    return {
        name: [one for one in reversed(value) if one is not None]
        if name in {"matches", "organizations"} and "missing_records" in content
        else value
        for name, value in content.items()
    }


def _failed_bulk(error: BadBulk) -> Mapping[str, str]:
    return {"status": "failed", "error_code": error.code, "error_message": str(error)}


def _no_rows() -> Mapping[str, Any]:
    return {
        "pagination": _pagination(1, DEFAULT_A_PAGE, 0),
        "total_entries": 0,
        "organizations": [],
        "accounts": [],
        "people": [],
    }


def _pagination(page: int, per_page: int, total: int) -> Mapping[str, int]:
    return {
        "page": page,
        "per_page": per_page,
        "total_entries": total,
        "total_pages": -(-total // per_page),
    }


def _paging(parameters: Mapping[str, Any], *, most: int = MOST_A_PAGE) -> tuple[int, int]:
    page, per_page = (
        _whole(parameters, name, default) for name, default in (("page", 1), ("per_page", DEFAULT_A_PAGE))
    )
    if page < 1:
        raise BadParameter("page must be at least 1")
    if not 1 <= per_page <= most:
        raise BadParameter(f"per_page must be between 1 and {most}")
    if page > MOST_PAGES or page * per_page > MOST_ROWS:
        raise BadParameter(
            f"Only the first {MOST_ROWS:,} records can be displayed. Please narrow your search."
        )
    return page, per_page


def _whole(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = parameters.get(name)
    if value is None:
        return default
    try:
        return int(str(value))
    except ValueError as error:
        raise BadParameter(f"{name} must be a whole number") from error


def _details(request: Request, alternative: str = "") -> list[Mapping[str, Any]]:
    details = request.parameters.get("details")
    if details is None and alternative and isinstance(request.parameters.get(alternative), list):
        details = [{"domain": domain} for domain in request.parameters[alternative]]
    if not isinstance(details, list) or not details or not all(isinstance(one, dict) for one in details):
        raise BadBulk("INVALID_REQUEST", "Please provide a non-empty list of records in details.")
    if len(details) > MOST_IN_BULK:
        raise BadBulk("RECORD_LIMIT_EXCEEDED", f"At most {MOST_IN_BULK} records can be enriched in one call.")
    return details


def _price(person: Person, *, reveal: bool) -> int:
    return 1 + (MOBILE_CREDITS if reveal and person.mobile else 0)


def _true(value: Any) -> bool:
    return value is True or str(value).lower() == "true"


def _host(website: str) -> str:
    return website.rsplit("//", maxsplit=1)[-1].split("/", maxsplit=1)[0]


def _profile(wanted: Mapping[str, Any]) -> str:
    url = str(wanted.get("linkedin_url") or "").rstrip("/")
    return "http://www." + url.split("//")[-1].removeprefix("www.") if url else ""


def _asked_for(wanted: Mapping[str, Any]) -> str:
    return str(wanted.get("id") or wanted.get("linkedin_url") or wanted.get("domain") or "")


def _request_id(request: Request) -> int:
    """Apollo's may be negative."""
    return stable_hash("request", request.digest) - 2**63
