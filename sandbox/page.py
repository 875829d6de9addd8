"""The page a person sees at `/`: how large the world is, what was spent, what is made to go wrong."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from sandbox.faults import KINDS
from sandbox.ledger import Ledger
from sandbox.records import Company
from sandbox.world import World

SHOWN_COMPANIES: Final = 12
SHOWN_CALLS: Final = 15
SUMS: Final = ("calls", "paid_calls", "credits", "prompt_tokens", "completion_tokens")
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
:root { color-scheme: light dark }
body { color: #1d2530 }
h1 { margin-bottom: 0 } h2 { margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0 }
th, td { border-bottom: 1px solid #d8dee6 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
form { display: flex; flex-wrap: wrap; gap: .75rem; align-items: end; margin: .75rem 0 }
label { display: grid; font-size: .85rem } input, select, button { font: inherit; padding: .3rem .5rem }
.quiet { color: #5b6675 }
@media (prefers-color-scheme: dark) {
body { background: #14181d; color: #dfe5ec } th, td { border-color: #333c47 } .quiet { color: #98a4b3 }
}
"""


def page(world: World, ledger: Ledger, faults: Sequence[Mapping[str, Any]]) -> str:
    industries = len({company.industry for company in world.companies})
    countries = len({company.country for company in world.companies})
    size = (
        f"{len(world.companies):,} companies in {industries} industries and {countries} countries, "
        f"{len(world.people):,} people. Seed {world.seed}."
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Sandbox</title><style>{STYLE}</style></head><body><main>"
        "<h1>Sandbox</h1>"
        "<p class=quiet>A local stand-in for Apollo.io and OpenAI. Everybody here is invented.</p>"
        f"<p>{size}</p>"
        f"{_totals(ledger)}{_faults(faults)}{_calls(ledger)}{_companies(world)}"
        "</main></body></html>"
    )


def _totals(ledger: Ledger) -> str:
    rows = [(name, *(sums[one] for one in SUMS)) for name, sums in ledger.totals().items()]
    head = ("Provider", "Calls", "Paid", "Credits", "Prompt tokens", "Completion tokens")
    return f"<h2>Spent</h2>{_table(head, rows)}"


def _faults(faults: Sequence[Mapping[str, Any]]) -> str:
    kinds = "".join(
        f'<option value="{name}">{name}: {escape(what)}</option>' for name, (_, what) in KINDS.items()
    )
    form = (
        '<form method="post" action="/_control/faults">'
        '<label>Path<input name="path" value="*"></label>'
        f'<label>Kind<select name="kind"><option value="">(none)</option>{kinds}</select></label>'
        '<label>or status<input name="status" size="4" inputmode="numeric" placeholder="429"></label>'
        '<label>Retry after, s<input name="retry_after" size="4" inputmode="numeric"></label>'
        '<label>Latency, ms<input name="latency_ms" size="6" inputmode="numeric"></label>'
        '<label>Times<input name="times" size="4" inputmode="numeric" placeholder="always"></label>'
        "<button>Switch on</button></form>"
    )
    if not faults:
        return f"<h2>Faults</h2><p class=quiet>None: everything works.</p>{form}"
    rows = [
        (
            one["path"],
            one["kind"] or one["status"] or "slow",
            one["latency_ms"] or "",
            "always" if one["times_left"] is None else one["times_left"],
        )
        for one in faults
    ]
    clear = '<form method="post" action="/_control/faults/clear"><button>Switch all off</button></form>'
    return f"<h2>Faults</h2>{_table(('Path', 'What', 'Latency, ms', 'Times left'), rows)}{clear}{form}"


def _calls(ledger: Ledger) -> str:
    latest = list(reversed(ledger.entries()[-SHOWN_CALLS:]))
    if not latest:
        return "<h2>Latest calls</h2><p class=quiet>None yet.</p>"
    rows = [
        (
            entry.at[11:19],
            entry.path,
            entry.subject[:60],
            entry.status,
            entry.credits or "",
            entry.prompt_tokens + entry.completion_tokens or "",
            entry.fault or "",
        )
        for entry in latest
    ]
    head = ("At (UTC)", "Path", "About", "Status", "Credits", "Tokens", "Fault")
    return f"<h2>Latest calls</h2>{_table(head, rows)}"


def _companies(world: World) -> str:
    rows = [_company(company) for company in world.companies[:SHOWN_COMPANIES]]
    return (
        f"<h2>Some of the companies</h2>{_table(('Company', 'Industry', 'Where', 'People', 'About'), rows)}"
    )


def _company(company: Company) -> tuple[object, ...]:
    where = f"{company.city}, {company.country}"
    return company.name, company.industry, where, company.employees, company.short_description


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    numbers = {place for row in rows for place, value in enumerate(row) if isinstance(value, int)}
    titles = "".join(
        f"<th{' class=n' if place in numbers else ''}>{escape(title)}</th>"
        for place, title in enumerate(head)
    )
    lines = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"<td class=n>{value:,}</td>"
    return f"<td>{escape(str(value))}</td>"
