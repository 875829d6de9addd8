"""What the pages for a person share: the frame, tables, forms. No scripts; all text is escaped here."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final
from urllib.parse import urlencode

from sandbox.wire import HTML, Response

PLACES: Final = (
    ("/", "Overview"),
    ("/companies", "Companies"),
    ("/people", "People"),
    ("/news", "News"),
    ("/calls", "Calls"),
)
A_PAGE: Final = 25
# Nothing is loaded and no script runs, whatever a text says; nobody frames the switches.
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
STYLE: Final = """
:root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --line: #d9dfe7; --text: #1b2430;
  --quiet: #566273; --link: #1d4ed8; --on: #b42318; --on-back: #fef1ef; --good: #17663f; --button: #1d4ed8;
  --on-button: #fff }
@media (prefers-color-scheme: dark) { :root { --back: #12161b; --card: #1a2027; --line: #323c48;
  --text: #e2e8ef; --quiet: #9dabbb; --link: #8ab4ff; --on: #ff9c8f; --on-back: #351d1b; --good: #7fd6a4;
  --button: #8ab4ff; --on-button: #0d1420 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; background: var(--back); color: var(--text) }
header, main { max-width: 74rem; margin: 0 auto; padding: 0 1rem }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; padding-top: 1rem }
header b { font-size: 1.15rem }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem }
a { color: var(--link); text-underline-offset: .15em }
nav a { display: inline-block; padding: .35rem 0 }
nav a[aria-current] { color: inherit; font-weight: 600; text-decoration: none }
main { padding-bottom: 4rem }
h1 { font-size: 1.5rem; margin: 1.25rem 0 .25rem } h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem }
h3 { font-size: .95rem; margin: 1.25rem 0 .5rem } p { margin: .35rem 0 }
.quiet { color: var(--quiet) } .bad { color: var(--on) } .good { color: var(--good) }
.card, table { background: var(--card); border: 1px solid var(--line); border-radius: .5rem }
.card { padding: .75rem 1rem } .alarm { border-color: var(--on); background: var(--on-back) }
.row { display: flex; flex-wrap: wrap; gap: .25rem 1rem; justify-content: space-between; align-items: center;
  border-bottom: 1px solid var(--line) } .row:last-child { border: 0 } .row p { flex: 1 1 16rem }
.cards { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(16.5rem, 1fr)) }
.cards .card { display: flex; flex-direction: column } .cards form { margin: auto 0 0; padding-top: .6rem }
table { border-collapse: separate; border-spacing: 0; width: 100%; margin: .5rem 0 }
th, td { text-align: left; vertical-align: top; padding: .45rem .75rem; overflow-wrap: break-word }
.nowrap { white-space: nowrap } .side { display: flex; gap: .4rem }
td { border-top: 1px solid var(--line) } th { font-size: .85rem; color: var(--quiet); font-weight: 600 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
form { display: flex; flex-wrap: wrap; gap: .6rem .75rem; align-items: end; margin: .5rem 0 }
td form { margin: 0; gap: .4rem; flex-wrap: nowrap; align-items: center }
label { display: grid; gap: .15rem; font-size: .85rem; color: var(--quiet); max-width: 100% }
input, select, button { font: inherit; padding: .35rem .6rem; border-radius: .35rem; max-width: 100%;
  border: 1px solid var(--line); background: var(--card); color: var(--text); min-height: 2.25rem }
button { border-color: var(--button); color: var(--link); cursor: pointer; white-space: nowrap }
button.main { background: var(--button); color: var(--on-button) }
button.off { border-color: var(--on); color: var(--on) }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
details { margin: 1rem 0 } summary { cursor: pointer; padding: .35rem 0 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: .5rem 0 }
dt { color: var(--quiet) } dd { margin: 0; overflow-wrap: anywhere }
article { padding: .6rem 0; border-top: 1px solid var(--line) } article:first-of-type { border-top: 0 }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere }
@media (max-width: 44rem) {
  thead { position: absolute; clip-path: inset(50%); height: 1px; overflow: hidden }
  table, tbody, td { display: block } td { border: 0; padding: 0; max-width: 100% }
  tr { display: flex; flex-wrap: wrap; gap: .1rem 1rem; padding: .5rem .75rem; border-top: 1px solid var(--line) }
  tr:first-child { border-top: 0 }
  td.n { text-align: left } td:empty { display: none }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--quiet); font-size: .85rem }
  dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .4rem } label { flex: 1 1 8rem }
  label select, label input { width: 100% }
  .cards .card { display: grid; grid-template-columns: 1fr auto; column-gap: .75rem; align-items: center }
  .cards p { grid-column: 1 } .cards form { grid-column: 2; grid-row: 1 / 3; padding: 0; margin: 0;
    align-self: center } nav { gap: .25rem .8rem }
}
"""


class Html(str):
    """Text that is HTML already: everything else is escaped where it is written."""

    __slots__ = ()


def html(value: object) -> str:
    return value if isinstance(value, Html) else escape(str(value))


def joined(parts: Sequence[object], between: str = "") -> Html:
    return Html(between.join(html(part) for part in parts))


def element(tag: str, /, *inside: object, **attributes: object) -> Html:
    """An element; an attribute that is None is left out, `class_` is `class`, `data_label` is `data-label`."""
    return Html(f"{void(tag, **attributes)}{joined(inside)}</{tag}>")


def void(tag: str, /, **attributes: object) -> Html:
    """An element that holds nothing, such as an input."""
    given = "".join(
        f' {key.strip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{given}>")


def link(to: str, label: object) -> Html:
    return element("a", label, href=to)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Numbers stand right; on a narrow screen each row becomes a block that repeats the heads."""
    numbers = {place for row in rows for place, value in enumerate(row) if _is_number(value)}
    titles = [
        element("th", title, scope="col", class_=_n(place in numbers)) for place, title in enumerate(head)
    ]
    lines = [
        element("tr", *(_cell(value, head[place], right=place in numbers) for place, value in enumerate(row)))
        for row in rows
    ]
    return element("table", element("thead", element("tr", *titles)), element("tbody", *lines))


def posting(to: str, label: str, *fields: object, kind: str | None = None, names: str | None = None) -> Html:
    """A form that posts, with its button; `names` is what the button is called where its label is too short."""
    return element(
        "form",
        *fields,
        element("button", label, class_=kind, aria_label=names),
        method="post",
        action=to,
    )


def field(label: str, name: str, value: str = "", **attributes: object) -> Html:
    return element("label", label, void("input", name=name, value=value, **attributes))


def choice(label: str, name: str, options: Mapping[str, str], chosen: str = "") -> Html:
    listed = [
        element("option", said, value=value, selected="" if value == chosen else None)
        for value, said in options.items()
    ]
    return element("label", label, element("select", *listed, name=name))


def pages(path: str, query: Mapping[str, str], page: int, total: int) -> Html:
    """Which of how many, and the ways to the page before and after."""
    if not total:
        return element("p", "Nothing fits.", class_="quiet")
    first, last = (page - 1) * A_PAGE + 1, min(page * A_PAGE, total)
    ways = [f"{first:,} to {last:,} of {total:,}"]
    for number, label, there in (
        (page - 1, "Before", page > 1),
        (page + 1, "Next", last < total),
    ):
        if there:
            said = {name: value for name, value in query.items() if value} | {"page": str(number)}
            ways.append(link(f"{path}?{urlencode(said)}", label))
    return element("p", joined(ways, " · "), class_="quiet")


def page_number(query: Mapping[str, str], total: int) -> int:
    """The page asked for, within those that there are."""
    asked = query.get("page", "1")
    last = max(1, -(-total // A_PAGE))
    return min(max(1, int(asked)), last) if asked.isascii() and asked.isdecimal() and len(asked) < LONG else 1


LONG: Final = 9  # digits


def framed(here: str, title: str, *inside: object, status: int = 200) -> Response:
    ways = [
        element("a", label, href=path, aria_current="page" if path == here else None)
        for path, label in PLACES
    ]
    whole = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · Sandbox</title><style>{STYLE}</style></head><body>"
        f"<header><b>Sandbox</b>{element('nav', *ways, aria_label='Pages')}</header>"
        f"<main><h1>{escape(title)}</h1>{joined(inside)}</main></body></html>"
    )
    return Response(status, whole.encode(), HTML, HEADERS)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _n(yes: bool) -> str | None:  # noqa: FBT001 - private, and plain where it is called
    return "n" if yes else None


def _cell(value: object, label: str, *, right: bool) -> Html:
    said = f"{value:,}" if _is_number(value) else value
    return element("td", said, class_=_n(right), data_label=label or None)
