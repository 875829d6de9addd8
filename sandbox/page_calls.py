"""The ledger for a person: every call, what it cost, and the sums of those chosen."""

from collections.abc import Mapping, Sequence
from typing import Final

from sandbox.ledger import Entry, Ledger, totals_of
from sandbox.page import A_PAGE, Html, choice, element, field, framed, page_number, pages, posting, table
from sandbox.wire import Response

SUMS: Final = ("calls", "paid_calls", "credits", "prompt_tokens", "completion_tokens")
PROVIDERS: Final = {"": "both", "apollo": "Apollo.io", "openai": "OpenAI"}
PAID: Final = {"": "all", "yes": "paid", "no": "free"}
WRONG: Final = 400  # and above


def calls(ledger: Ledger, query: Mapping[str, str]) -> Response:
    chosen = [entry for entry in reversed(ledger.entries()) if _fits(entry, query)]
    page = page_number(query, len(chosen))
    rows = chosen[(page - 1) * A_PAGE : page * A_PAGE]
    filters = element(
        "form",
        choice("Provider", "provider", PROVIDERS, query.get("provider", "")),
        field("Key's last four", "key", query.get("key", ""), size="6", maxlength="4"),
        field("Path has", "path", query.get("path", ""), size="18"),
        choice("Paid", "paid", PAID, query.get("paid", "")),
        element("button", "Show", class_="main"),
    )
    empty = posting("/_control/ledger/clear", "Empty the ledger", kind="off") if ledger.entries() else ""
    return framed(
        "/calls",
        "Calls",
        element("p", "Written down before the caller got its answer.", class_="quiet"),
        filters,
        totals_table(totals_of(chosen)),
        calls_table(rows) if rows else "",
        pages("/calls", query, page, len(chosen)),
        empty,
    )


def totals_table(totals: Mapping[str, Mapping[str, int]]) -> Html:
    names = {"apollo": "Apollo.io", "openai": "OpenAI", "all": "Together"}
    rows = [(names[name], *(sums[one] for one in SUMS)) for name, sums in totals.items()]
    return table(("Provider", "Calls", "Paid", "Credits", "Prompt tokens", "Completion tokens"), rows)


def calls_table(entries: Sequence[Entry]) -> Html:
    head = ("At (UTC)", "Path", "About", "Key", "Status", "Credits", "Tokens", "Fault")
    return table(head, [_row(entry) for entry in entries])


def _row(entry: Entry) -> Sequence[object]:
    status = str(entry.status or "closed")
    return (
        entry.at[11:19],
        element("code", entry.path[:120]),
        entry.subject[:60],
        element("code", entry.key_last4) if entry.key_last4 else "",
        element("span", status, class_="bad" if entry.status >= WRONG or not entry.status else None),
        entry.credits or "",
        entry.prompt_tokens + entry.completion_tokens or "",
        entry.fault or "",
    )


def _fits(entry: Entry, query: Mapping[str, str]) -> bool:
    return (
        query.get("provider", "") in {"", entry.provider}
        and query.get("key", "") in {"", entry.key_last4}
        and query.get("path", "") in entry.path
        and query.get("paid", "") in {"", "yes" if entry.paid else "no"}
    )
