"""Who works at the world's companies, and how they can be reached."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Final

from sandbox.dice import chance, object_id, phone_number
from sandbox.geography import COUNTRY_BY_NAME, Country
from sandbox.industries import INDUSTRIES
from sandbox.records import PLACEHOLDER_EMAIL, WORLD_DAY, Company, Person
from sandbox.text import ascii_slug


@dataclass(frozen=True, slots=True)
class Job:
    title: str
    seniority: str
    department: str
    fewest: int  # the head count from which a company has such a job


def _jobs(department: str, text: str) -> tuple[Job, ...]:
    """`title/seniority/fewest; …`."""
    parts = (entry.strip().split("/") for entry in text.split(";"))
    return tuple(Job(title, seniority, department, int(fewest)) for title, seniority, fewest in parts)


LARGE: Final = 120
FOUNDER_MAY_STILL_LEAD: Final = 2000
TOP_OF_YOUNG: Final = _jobs(
    "c_suite", "Founder & CEO/founder/0; Co-Founder/founder/0; Owner/owner/0; Managing Director/c_suite/0"
)
TOP_OF_SMALL: Final = _jobs(
    "c_suite", "Owner/owner/0; Managing Director/c_suite/0; Managing Partner/partner/0"
)
TOP_OF_LARGE: Final = _jobs("c_suite", "Chief Executive Officer/c_suite/0")
JOBS: Final = (
    *_jobs(
        "c_suite",
        "Chief Financial Officer/c_suite/60; Chief Operating Officer/c_suite/80;"
        "Chief Technology Officer/c_suite/30; Chief Marketing Officer/c_suite/150;"
        "Chief Revenue Officer/c_suite/120; Chief Information Officer/c_suite/300",
    ),
    *_jobs(
        "sales",
        "VP of Sales/vp/60; Head of Sales/head/20; Sales Director/director/80; Sales Manager/manager/15;"
        "Account Executive/senior/10; Sales Development Representative/entry/25",
    ),
    *_jobs(
        "marketing",
        "VP of Marketing/vp/120; Head of Marketing/head/25; Marketing Director/director/100;"
        "Marketing Manager/manager/12; Content Specialist/entry/20; Marketing Intern/intern/15",
    ),
    *_jobs(
        "operations",
        "VP of Operations/vp/150; Head of Operations/head/20; Operations Director/director/90;"
        "Operations Manager/manager/8; Procurement Manager/manager/50; Operations Coordinator/entry/15",
    ),
    *_jobs(
        "finance",
        "Finance Director/director/60; Head of Finance/head/30; Financial Controller/manager/40;"
        "Senior Accountant/senior/15; VP of Finance/vp/250",
    ),
    *_jobs(
        "human_resources",
        "Head of People/head/40; HR Director/director/120; HR Manager/manager/25; Recruiter/entry/30",
    ),
    *_jobs(
        "information_technology",
        "IT Director/director/120; Head of IT/head/50; IT Manager/manager/30; "
        "Systems Administrator/senior/20",
    ),
    *_jobs(
        "engineering",
        "VP of Engineering/vp/80; Head of Engineering/head/30; Engineering Manager/manager/25;"
        "Senior Engineer/senior/12",
    ),
    *_jobs("support", "Head of Customer Success/head/30; Customer Success Manager/manager/15"),
    *_jobs("legal", "General Counsel/c_suite/250; Legal Counsel/senior/150"),
)
FITTING: Final = {
    (low, high): tuple(job for job in JOBS if low >= job.fewest)
    for low, high in ((0, 8), (8, 15), (15, 30), (30, 60), (60, 120), (120, 300), (300, 10**9))
}
ROLE_SENIORITIES: Final = ("entry", "senior", "senior")
TRADE_ROLES: Final = {
    industry.name: tuple(
        Job(role, ROLE_SENIORITIES[place % len(ROLE_SENIORITIES)], industry.trade, 0)
        for place, role in enumerate(industry.roles)
    )
    for industry in INDUSTRIES
}


def people(rng: Random, company: Company) -> Iterator[Person]:
    taken = set[str]()  # addresses: two people of one name do not share a mailbox
    home = COUNTRY_BY_NAME[company.country]
    for job in _staff(rng, company):
        yield _person(rng, company, job, home, taken)


def _staff(rng: Random, company: Company) -> Sequence[Job]:
    """The one at the top, then jobs that a company of this size has, each once."""
    known = min(company.employees, rng.randint(3, 6) + (company.employees > LARGE) * rng.randint(1, 6))
    top = rng.choice(_tops(company))
    bracket = next(jobs for (low, high), jobs in FITTING.items() if low <= company.employees < high)
    choice = (*bracket, *TRADE_ROLES[company.industry])
    return (top, *rng.sample(choice, k=min(known - 1, len(choice))))


def _tops(company: Company) -> Sequence[Job]:
    if company.employees > LARGE:
        return TOP_OF_LARGE
    return TOP_OF_YOUNG if company.founded >= FOUNDER_MAY_STILL_LEAD else TOP_OF_SMALL


def _person(rng: Random, company: Company, job: Job, home: Country, taken: set[str]) -> Person:
    first, last, mailbox = _unused_name(rng, home, taken)
    email, status = _address(rng, f"{mailbox}@{company.domain}")
    away = chance(rng, 0.12) and job.seniority != "owner"
    city = rng.choice(home.cities) if away else None
    person_id = object_id(rng)
    return Person(
        id=person_id,
        company_id=company.id,
        first_name=first,
        last_name=last,
        title=None if job.seniority in {"entry", "intern"} and chance(rng, 0.06) else job.title,
        seniority=job.seniority,
        department=job.department,
        email=email,
        email_status=status,
        mobile=phone_number(rng, home) if chance(rng, 0.55) else None,
        city=city.name if city else company.city,
        state=city.state if city else company.state,
        country=company.country,
        linkedin_url=f"http://www.linkedin.example/in/{ascii_slug(f'{first} {last}')}-{person_id[:7]}",
        since=_since(rng, company, job),
    )


def _since(rng: Random, company: Company, job: Job) -> date:
    if job.seniority == "founder":
        return date(company.founded, rng.randint(1, 6), 1)
    longest = max(40, min(3_300, 365 * (WORLD_DAY.year - company.founded - 1)))
    return WORLD_DAY - timedelta(days=rng.randint(30, longest))


def _unused_name(rng: Random, home: Country, taken: set[str]) -> tuple[str, str, str]:
    while True:
        first, last = rng.choice(home.given), rng.choice(home.family)
        mailbox = f"{ascii_slug(first, '')}.{ascii_slug(last, '')}"
        if mailbox not in taken:
            taken.add(mailbox)
            return first, last, mailbox


def _address(rng: Random, address: str) -> tuple[str | None, str]:
    throw = rng.random()
    for share, email, status in (
        (0.72, address, "verified"),
        (0.82, address, "extrapolated"),
        (0.85, PLACEHOLDER_EMAIL, "unavailable"),
    ):
        if throw < share:
            return email, status
    return None, "unavailable"
