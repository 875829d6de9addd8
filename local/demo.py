"""`make demo`: the main job over HTTP, narrated with real figures, then checked against the books.

What HTTP claimed is looked up again in the database and in the providers' own ledger. Everything goes to
`.local/demo.json`; any difference makes the exit code 1. `REAL=1` uses the real services with the keys from
the environment, few credits, and checks shapes instead of the sandbox's ledger.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import boto3
import httpx
from sqlalchemy import text

from chalicelib.db.driver import create
from local.aws import CREDENTIALS
from local.processes import ROOT
from local.runner import read_info
from local.stack import Stack

MANAGER: Final = "manager@northwind.example"
PROFILE: Final = {
    "industries": ["logistics"],
    "locations": ["Germany", "Netherlands", "Poland", "Austria"],
    "employeeCount": {"min": 20, "max": 5000},
}
COMPANIES: Final = 6
COMPANIES_FOR_REAL: Final = 3
PAGES_FOR_REAL: Final = 2
"""With real keys a tour costs at most so many credits: the pages and the companies."""
SENDER: Final = {
    "productValue": "Plans every truck's day in minutes, so that dispatchers stop firefighting.",
    "senderName": "Alex Northwind",
    "senderTitle": "Account Executive",
    "painPoints": ["empty return trips", "late changes to the day's plan"],
}
PATIENCE: Final = 120.0


@dataclass(slots=True)
class Book:
    """What was claimed, what the books say, and where they differ."""

    claims: dict[str, Any] = field(default_factory=dict)
    books: dict[str, Any] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def compare(self, what: str, claimed: Any, found: Any) -> None:
        self.claims[what], self.books[what] = claimed, found
        same = claimed == found
        if not same:
            self.differences.append(f"{what}: HTTP said {claimed!r}, the books say {found!r}")
        print(f"    {'=' if same else '≠'} {what}: {found if same else f'{claimed!r} ≠ {found!r}'}")


@dataclass(slots=True)
class Api:
    """The product, as a program sees it."""

    address: str
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def sign_in(self, email: str, password: str) -> dict[str, Any]:
        said = self.post("/auth/login", {"email": email, "password": password})
        self.client.headers["authorization"] = f"Bearer {said['accessToken']}"
        me: dict[str, Any] = self.get("/me")
        return me

    def get(self, path: str, **query: Any) -> Any:
        return self._data(self.client.get(self.address + path, params=query))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._data(self.client.post(self.address + path, json=body))

    def _data(self, response: httpx.Response) -> Any:
        body = response.json()
        if not body["success"]:
            error = body["error"]
            raise SystemExit(
                f"{response.request.method} {response.request.url.path}: {error['code']}: {error['message']}"
            )
        return body["data"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__)
    parser.add_argument("--real", action="store_true", default=os.environ.get("REAL") == "1")  # noqa: TID251 - make's
    given = parser.parse_args()
    if given.real:
        _need_real_keys()
    with _a_stack(fresh=given.real) as info:
        book = Book()
        tour = Tour(Api(info["api"]), info, book, real=given.real)
        tour.walk()
        report = ROOT / ".local" / "demo.json"
        report.parent.mkdir(exist_ok=True)
        report.write_text(
            json.dumps(
                {
                    "claims": book.claims,
                    "books": book.books,
                    "differences": book.differences,
                    "told": tour.told,
                },
                indent=2,
                ensure_ascii=False,
                default=str,
            )
        )
    if book.differences:
        print("\nThe books differ from what HTTP said:")
        print("\n".join(f"  {difference}" for difference in book.differences))
        return 1
    print(f"\nEverything HTTP said is so in the books. The figures are in {report.relative_to(ROOT)}.")
    return 0


def _need_real_keys() -> None:
    missing = [name for name in ("OPENAI_API_KEY", "APOLLO_API_KEY") if not os.environ.get(name)]  # noqa: TID251 - the developer's
    if missing:
        raise SystemExit(f"REAL=1 spends real credits and needs {' and '.join(missing)} in the environment.")


@contextmanager
def _a_stack(*, fresh: bool) -> Iterator[dict[str, Any]]:
    """The running stack, or one of the demo's own."""
    running = None if fresh else read_info(ROOT / ".local")
    if running is not None:
        print(f"Using the stack at {running['url']}")
        yield running
        return
    print("Starting a stack of the demo's own")
    with tempfile.TemporaryDirectory(prefix="bevyly-demo-") as place, Stack(Path(place)) as stack:
        yield stack.info


@dataclass(slots=True)
class Tour:
    api: Api
    info: dict[str, Any]
    book: Book
    real: bool
    told: dict[str, Any] = field(default_factory=dict)

    def walk(self) -> None:
        self._drop_old_events()
        person = next(person for person in self.info["people"] if person["email"] == MANAGER)
        me = self.api.sign_in(MANAGER, person["password"])
        self._say(1, f"{me['name']} ({me['role']}) of {me['customer']['name']} signs in.")
        leads = self._find_leads()
        decided = self._decide(leads)
        email = self._draft()
        self._events([*decided, email])
        self._check_books(leads["run"], decided, email)

    # 2 and 3: a lead source finds companies

    def _find_leads(self) -> dict[str, Any]:
        wanted = COMPANIES_FOR_REAL if self.real else COMPANIES
        agent = self.api.post(
            "/agents",
            {
                "agentType": "lead_source",
                "name": "Logistics nearby",
                "config": {**PROFILE, "batchSize": wanted, "maxPages": PAGES_FOR_REAL if self.real else 20},
            },
        )
        accepted = self.api.post("/runs", {"configId": agent["id"], "trigger": "manual"})
        self._say(
            2,
            f"A lead source for logistics companies is started: {accepted['id']} is {accepted['status']}.",
        )
        run = self._until_over(accepted["id"])
        items = self.api.get("/approvals", runId=run["id"], limit=100)
        self._say(3, f"It proposes {len(items)} companies that are not in the CRM yet:")
        for item in items:
            fit = item["context"]["fit"]
            met = sum(line["met"] is True for line in fit)
            provider = item["context"]["sources"][1]["provider"]
            print(f"      {item['priority']:<7}{item['content']['name']:<34}{item['description']}")
            print(f"             meets {met} of {len(fit)} criteria, from {provider}")
        if len(items) < (2 if self.real else COMPANIES):
            raise SystemExit(f"Only {len(items)} companies were proposed: {run['error'] or run['output']}")
        return {"run": run, "items": items}

    # 4: people decide

    def _decide(self, leads: dict[str, Any]) -> list[dict[str, Any]]:
        items = leads["items"]
        all_ways = len(items) >= COMPANIES
        decisions = [
            self.api.post(f"/approvals/{item['id']}/approve", {"version": item["version"]})
            for item in items[: 2 if all_ways else 1]
        ]
        edited = {**items[-1]["content"], "name": items[-1]["content"]["name"] + " (EMEA)"}
        decisions.append(
            self.api.post(
                f"/approvals/{items[-1]['id']}/approve",
                {"version": items[-1]["version"], "editedContent": edited},
            )
        )
        if all_ways:
            reason = {"version": items[2]["version"], "reason": "We sell to them through a partner."}
            decisions.append(self.api.post(f"/approvals/{items[2]['id']}/reject", reason))
            slip = self.api.post(f"/approvals/{items[3]['id']}/approve", {"version": items[3]["version"]})
            undone = self.api.post(f"/approvals/{items[3]['id']}/revert", {"version": slip["version"]})
            self._say(
                4,
                f"Two are approved, one edited, one rejected; a fifth was a slip and is {undone['status']} again.",
            )
        window = self.api.get("/me")["customer"]["undoWindowSeconds"]
        print(f"    The undo window is {window} s; nothing has become an account before it is over.")
        applied = [self._until_applied(decision["id"]) for decision in decisions]
        accounts = self.api.get("/accounts", runId=leads["run"]["id"])
        for account in accounts:
            print(f"      {account['name']:<40}{account['domain']:<40}{account['id']}")
        self.told["accounts"] = accounts
        return applied

    # 5: a drafter writes

    def _draft(self) -> dict[str, Any]:
        contact = self._a_contact()
        agent = self.api.post(
            "/agents", {"agentType": "email_drafter", "name": "First e-mail", "config": SENDER}
        )
        accepted = self.api.post("/runs", {"configId": agent["id"], "input": {"contactIds": [contact["id"]]}})
        run = self._until_over(accepted["id"])
        items = self.api.get("/approvals", runId=run["id"])
        if not items:
            raise SystemExit(f"No draft came of {run['id']}: {run['error'] or run['output']['errors']}")
        item = items[0]
        tokens = sum(line["tokensIn"] + line["tokensOut"] for line in run["usage"])
        self._say(
            5, f"An e-mail to {contact['firstName']} {contact['lastName']} is drafted with {tokens} tokens:"
        )
        print(f"\n      Subject: {item['content']['subject']}\n")
        print("\n".join(f"      {line}" for line in item["content"]["body"].splitlines()))
        based_on = ", ".join(fact["fact"] for fact in item["context"]["basedOn"])
        print(f"\n      {item['context']['words']} words, based on {based_on}")
        for flag in item["flags"]:
            print(f"      flag: {flag['message']}")
        self.api.post(f"/approvals/{item['id']}/approve", {"version": item["version"]})
        applied = self._until_applied(item["id"])
        email = next(
            email
            for email in self.api.get("/emails", contactId=contact["id"])
            if email["approvalItemId"] == item["id"]
        )
        print(f"      approved, and ready to send: {email['id']} to {email['toAddress']}")
        self.told["email"], self.told["draft_run"] = email, run
        return applied

    def _a_contact(self) -> dict[str, Any]:
        waiting = {
            item["contactId"] for item in self.api.get("/approvals", agentType="email_drafter", limit=100)
        }
        for contact in self.api.get("/contacts", limit=100):
            if contact["email"] and contact["id"] not in waiting:
                found: dict[str, Any] = contact
                return found
        raise SystemExit("Every contact has a draft waiting already. Decide some of them, or begin anew.")

    # 6: the bus

    def _events(self, items: list[dict[str, Any]]) -> None:
        wanted = {(_event_of(item), item["id"]) for item in items}
        run_ids = {self.told["lead_run"]["id"], self.told["draft_run"]["id"]}
        wanted |= {("agent.run.completed", run_id) for run_id in run_ids}
        received = self._received_until(wanted)
        self._say(6, f"A queue subscribed to the bus received {len(received)} events of this tour:")
        counted: dict[str, int] = {}
        for event in received:
            counted[event["type"]] = counted.get(event["type"], 0) + 1
        for kind, number in sorted(counted.items()):
            print(f"      {number:>3} × {kind}")
        missing = wanted - {(event["type"], event["subject"]) for event in received}
        self.book.compare("events that did not arrive", [], sorted(missing))
        self.told["events"] = counted

    # 7: the books

    def _check_books(self, run: dict[str, Any], decided: list[dict[str, Any]], email: dict[str, Any]) -> None:
        self._say(7, "What the books say:")
        engine = create(self.info["database_url"], ca_file=self.info["database_ca_file"])
        customer = next(person["customer_id"] for person in self.info["people"] if person["email"] == MANAGER)
        with engine.begin() as connection:
            connection.execute(text("SELECT enter_tenant(:customer)"), {"customer": customer})

            def ask(sql: str, **parameters: Any) -> list[Any]:
                return [tuple(row) for row in connection.execute(text(sql), parameters)]

            self._check_database(ask, run, [*decided, email])
            entries = ask(
                "SELECT id, provider, credits, tokens_in, tokens_out, status FROM usage_entries"
                " WHERE run_id = ANY(:runs) ORDER BY id",
                runs=[run["id"], self.told["draft_run"]["id"]],
            )
        engine.dispose()
        self.book.compare(
            "ledger entries left open", 0, sum(entry[5] in ("reserved", "unknown") for entry in entries)
        )
        if self.real:
            self._check_shapes(sum(entry[2] for entry in entries))
            return
        self._check_ledger(entries)

    def _check_database(
        self, ask: Callable[..., list[Any]], run: dict[str, Any], decided: list[dict[str, Any]]
    ) -> None:
        (row,) = ask(
            "SELECT status, items_processed, items_succeeded FROM agent_runs WHERE id = :id", id=run["id"]
        )
        self.book.compare("the run", [run["status"], run["itemsProcessed"], run["itemsSucceeded"]], list(row))
        approved = [item["id"] for item in decided if item["status"] in ("approved", "edited")]
        effects = ask(
            "SELECT source_item_id FROM accounts WHERE source_item_id = ANY(:ids)"
            " UNION ALL SELECT approval_item_id FROM outreach_emails WHERE approval_item_id = ANY(:ids)",
            ids=[item["id"] for item in decided],
        )
        self.book.compare(
            "approved items with exactly one effect",
            sorted(approved),
            sorted(effect[0] for effect in effects),
        )
        accounts = ask("SELECT id FROM accounts WHERE source_run_id = :run", run=run["id"])
        self.book.compare("accounts", len(self.told["accounts"]), len(accounts))
        events = ask(
            "SELECT aggregate_id, payload->>'contentHash' = i.approved_hash FROM outbox_events e"
            " JOIN approval_items i ON i.id = e.aggregate_id"
            " WHERE e.event_type = 'approval.item.approved' AND e.aggregate_id = ANY(:ids)",
            ids=approved,
        )
        self.book.compare(
            "approved events with the approved content's hash",
            len(approved),
            sum(event[1] for event in events),
        )
        audited = ask(
            "SELECT count(*) FROM audit_entries WHERE target_id = ANY(:ids) AND action LIKE 'approval.%'"
            " AND action <> 'approval.reverted' AND user_id IS NOT NULL",
            ids=[item["id"] for item in decided],
        )
        self.book.compare("decisions in the audit with a name", len(decided), audited[0][0])

    def _check_shapes(self, spent: int) -> None:
        """With real services nobody knows the answers beforehand, only what they look like."""
        cap = COMPANIES_FOR_REAL + PAGES_FOR_REAL
        print(f"    The real services charged {spent} of at most {cap} credits by our books.")
        self.book.compare("credits beyond the cap", 0, max(0, spent - cap))
        odd = [account["id"] for account in self.told["accounts"] if "." not in account["domain"]]
        self.book.compare("accounts without a real domain", [], odd)
        email = self.told["email"]
        missing = [name for name in ("subject", "body", "toAddress") if not email[name]]
        self.book.compare("missing of the e-mail", [], missing)
        used = sum(line["tokensIn"] > 0 and line["tokensOut"] > 0 for line in self.told["draft_run"]["usage"])
        self.book.compare("model calls with usage", 1, used)

    def _check_ledger(self, entries: list[Any]) -> None:
        """The provider's own books, call by call: our entry's id travelled with each."""
        theirs = httpx.get(f"{self.info['sandbox']}/_control/ledger", timeout=30).json()
        of_ours = {entry[0]: entry for entry in entries}
        calls = [row for row in theirs if row["call"] in of_ours and row["paid"]]
        self.book.compare("paid calls", sum(entry[2] + entry[3] > 0 for entry in entries), len(calls))
        self.book.compare("calls made twice", 0, len(calls) - len({row["call"] for row in calls}))
        self.book.compare(
            "Apollo credits", sum(entry[2] for entry in entries), sum(row["credits"] for row in calls)
        )
        ours = sum(entry[3] + entry[4] for entry in entries)
        self.book.compare(
            "OpenAI tokens", ours, sum(row["prompt_tokens"] + row["completion_tokens"] for row in calls)
        )

    # Waiting

    def _until_over(self, run_id: str) -> dict[str, Any]:
        shown = None
        for run in _polled(lambda: self.api.get(f"/runs/{run_id}")):
            progress = f"{run['itemsProcessed']}/{run['itemsTotal'] or '?'}"
            if progress != shown:
                print(f"      {run['status']:<10} {progress:<6} {run['currentStep'] or ''}")
                shown = progress
            if run["status"] in ("completed", "failed", "cancelled"):
                print(f"      {run['status']}, {len(run['steps'])} steps recorded")
                if run["agentType"] == "lead_source":
                    self.told["lead_run"] = run
                over: dict[str, Any] = run
                return over
        raise SystemExit(f"The run {run_id} is not over after {PATIENCE:.0f} s.")

    def _until_applied(self, item_id: str) -> dict[str, Any]:
        for item in _polled(lambda: self.api.get(f"/approvals/{item_id}")):
            if item["appliedAt"]:
                applied: dict[str, Any] = item
                return applied
        raise SystemExit(f"The decision on {item_id} has had no effect after {PATIENCE:.0f} s.")

    def _queue(self) -> Any:
        return boto3.client(
            "sqs",
            endpoint_url=self.info["aws_endpoint"],
            region_name="eu-central-1",
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def _drop_old_events(self) -> None:
        self._queue().purge_queue(QueueUrl=self.info["subscriber_queue_url"])

    def _received_until(self, wanted: set[tuple[str, str]]) -> list[dict[str, Any]]:
        queue, url = self._queue(), self.info["subscriber_queue_url"]
        received: list[dict[str, Any]] = []
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            messages = queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get(
                "Messages", []
            )
            for message in messages:
                received.append(json.loads(message["Body"])["detail"])
                queue.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            if not messages and wanted <= {(event["type"], event["subject"]) for event in received}:
                break
        return received

    def _say(self, step: int, words: str) -> None:
        print(f"\n{step}. {words}")


def _event_of(item: dict[str, Any]) -> str:
    return "approval.item.rejected" if item["status"] == "rejected" else "approval.item.approved"


def _polled(ask: Callable[[], Any]) -> Iterator[Any]:
    """What it says now, and again and again, for as long as patience lasts."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        yield ask()
        time.sleep(0.15)


if __name__ == "__main__":
    sys.exit(main())
