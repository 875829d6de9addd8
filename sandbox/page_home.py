"""The first page: what is made to go wrong, the switches, what was spent, and the keys."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sandbox.apollo_accounts import PLANS, Account, Accounts
from sandbox.faults import KINDS, PROVIDERS, Faults
from sandbox.ledger import Ledger
from sandbox.openai_chat import COMPLETIONS, KEY, MODELS, NO_QUOTA_KEY, QUOTA_CODES
from sandbox.openai_requests import KNOWN_MODELS
from sandbox.page import Html, choice, element, field, framed, joined, link, posting, table, void
from sandbox.page_calls import calls_table, totals_table
from sandbox.page_world import companies_table
from sandbox.presets import PRESETS, Preset
from sandbox.wire import Response
from sandbox.world import World

SHOWN_CALLS: Final = 8
SHOWN_COMPANIES: Final = 6
OPERATIONS: Final[Mapping[str, str]] = {
    "*": "every call to both",
    "/api/v1/*": "Apollo: every call",
    "/api/v1/mixed_companies/search": "Apollo: search companies",
    "/api/v1/mixed_people/api_search": "Apollo: search people",
    "/api/v1/organizations/enrich": "Apollo: enrich a company",
    "/api/v1/organizations/bulk_enrich": "Apollo: enrich companies",
    "/api/v1/people/match": "Apollo: enrich a person",
    "/api/v1/people/bulk_match": "Apollo: enrich people",
    "/api/v1/news_articles/search": "Apollo: search news",
    "/api/v1/usage_stats/*": "Apollo: usage and credits",
    "/api/v1/auth/health": "Apollo: check the key",
    "/v1/*": "OpenAI: every call",
    COMPLETIONS: "OpenAI: completions",
    f"{MODELS}*": "OpenAI: models",
}
PROVIDER_NAMES: Final = {"apollo": "Apollo", "openai": "OpenAI"}


def home(world: World, ledger: Ledger, faults: Faults, accounts: Accounts) -> Response:
    return framed(
        "/",
        "Overview",
        element(
            "p",
            "A local stand-in for Apollo.io and OpenAI. Everybody here is invented: ",
            link("/companies", f"{len(world.companies):,} companies"),
            ", ",
            link("/people", f"{len(world.people):,} people"),
            f". Seed {world.seed}.",
        ),
        _switched_on(faults),
        _presets(faults),
        _another(),
        element("h2", "Spent", id="spent"),
        totals_table(ledger.totals()),
        element("h2", "Latest calls"),
        _latest(ledger),
        _keys(accounts),
        _world(world),
    )


def _world(world: World) -> Html:
    search = element(
        "form",
        field("Name, place, keyword or technology", "q", type="search", size="30"),
        element("button", "Search companies", class_="main"),
        action="/companies",
    )
    some = companies_table(world.companies[:SHOWN_COMPANIES])
    return joined([element("h2", "The world", id="world"), search, some])


def in_words(fault: Mapping[str, Any]) -> Html:
    """A fault as a sentence: for whom, what, how long still."""
    known = KINDS[fault["kind"]][0] if fault["kind"] else PROVIDERS
    concerned = {fault["provider"]} if fault["provider"] else known
    whose = PROVIDER_NAMES[next(iter(concerned))] if len(concerned) == 1 else "Apollo and OpenAI"
    calls = OPERATIONS.get(fault["path"]) or joined([f"{whose}: calls to ", element("code", fault["path"])])
    parts: list[object] = [element("b", f"{whose}: every call" if fault["path"] == "*" else calls)]
    if fault["key_last4"]:
        parts.append(joined(["with a key that ends in ", element("code", fault["key_last4"])]))
    if fault["model"]:
        parts.append(joined(["with the model ", element("code", fault["model"])]))
    return joined([joined(parts, ", "), ". ", "; ".join(_what(fault)), "."])


def _what(fault: Mapping[str, Any]) -> Sequence[str]:
    said = []
    if fault["kind"]:
        said.append(KINDS[fault["kind"]][1])
    if fault["status"]:
        said.append(f"status {fault['status']}")
    if fault["retry_after"] is not None:
        said.append(f"retry-after {fault['retry_after']} s")
    if fault["latency_ms"]:
        said.append(f"{fault['latency_ms']:,} ms later than usual")
    left = fault["times_left"]
    said.append(
        "until it is switched off" if left is None else "once" if left == 1 else f"{left:,} times more"
    )
    return said


def _switched_on(faults: Faults) -> Html:
    listed = faults.listed()
    hanging = _hanging(faults.hanging)
    if not listed:
        calm = element("p", "None: everything works.", class_="good")
        return joined([element("h2", "Faults", id="faults"), element("div", calm, hanging, class_="card")])
    rows = [
        (
            in_words(one),
            posting(
                f"/_control/faults/{one['id']}/off",
                "Switch off",
                kind="off",
                names=f"Switch off: {one['id']}",
            ),
        )
        for one in listed
    ]
    all_off = posting("/_control/faults/clear", "Switch all off", kind="off") if len(rows) > 1 else ""
    lines = [element("div", element("p", says), switch, class_="row") for says, switch in rows]
    return joined(
        [
            element("h2", f"Faults: {len(rows)} on", id="faults"),
            element("div", *lines, hanging, all_off, class_="card alarm"),
        ]
    )


def _hanging(number: int) -> Html:
    if not number:
        return Html()
    said = "1 call hangs now." if number == 1 else f"{number} calls hang now."
    return joined([element("p", said), posting("/_control/hanging/clear", "Close their connections")])


def _presets(faults: Faults) -> Html:
    groups = dict.fromkeys(preset.group for preset in PRESETS.values())
    parts: list[object] = [element("h2", "Play with failures", id="play")]
    for group in groups:
        cards = [
            _preset(one, on=bool(faults.numbers_of(one.fault)))
            for one in PRESETS.values()
            if one.group == group
        ]
        parts += [element("h3", group), element("div", *cards, class_="cards")]
    return joined(parts)


def _preset(preset: Preset, *, on: bool) -> Html:
    switch = (
        posting(
            f"/_control/presets/{preset.name}/off",
            "Switch off",
            kind="off",
            names=f"Switch off: {preset.title}",
        )
        if on
        else posting(f"/_control/presets/{preset.name}/on", "Switch on", names=f"Switch on: {preset.title}")
    )
    return element(
        "div",
        element("b", preset.title),
        element("p", preset.then, class_="quiet"),
        switch,
        class_="card alarm" if on else "card",
    )


def _another() -> Html:
    kinds = {"": "(none)"} | {name: f"{name}: {what}" for name, (_, what) in KINDS.items()}
    models = {"": "any"} | {name: name for name in KNOWN_MODELS}
    numeric = {"inputmode": "numeric", "size": "7"}
    form = posting(
        "/_control/faults",
        "Switch on",
        choice("Which calls", "operation", OPERATIONS),
        field("or a path with *", "path", placeholder="/api/v1/*/enrich"),
        choice("What happens", "kind", kinds),
        field("or a status", "status", placeholder="429", **numeric),
        field("Retry after, s", "retry_after", **numeric),
        field("Latency, ms", "latency_ms", **numeric),
        field("Times", "times", placeholder="always", **numeric),
        field("Key's last four", "key_last4", maxlength="4", size="6"),
        choice("Model", "model", models),
        kind="main",
    )
    return element("details", element("summary", "Another fault, as you like it"), form)


def _keys(accounts: Accounts) -> Html:
    head = ("Apollo key", "What it is like", "Calls: minute, hour, day", "Used", "Left", "Credits")
    rows = [_account(account, accounts) for account in accounts.listed()]
    codes = [
        element("code", f"{NO_QUOTA_KEY}-{code}") for code in QUOTA_CODES if code != "insufficient_quota"
    ]
    openai = [
        (element("code", KEY), "everything works"),
        (
            element("code", NO_QUOTA_KEY),
            joined(["429 insufficient_quota; with an ending: ", joined(codes, ", ")]),
        ),
        ("anything else", "401 invalid_api_key"),
    ]
    models = [
        (
            element("code", name),
            "yes" if model.reasons else "no",
            "refused" if model.reasons else "taken",
            " or ".join(sorted(model.limits)),
            model.context,
        )
        for name, model in KNOWN_MODELS.items()
    ]
    return joined(
        [
            element("h2", "Keys", id="keys"),
            element(
                "p",
                "A key that begins like one of these is another account of the same plan; any other is a 401.",
                class_="quiet",
            ),
            table(head, rows),
            table(("OpenAI key", "What it is like"), openai),
            element("h3", "Models"),
            table(
                ("Model", "Reasons", "Temperature", "Token limit is called", "Longest prompt, tokens"), models
            ),
        ]
    )


def _account(account: Account, accounts: Accounts) -> Sequence[object]:
    beginning, says = next((one, says) for one, plan, says in PLANS if account.key.startswith(one))
    same = account.key == beginning
    name = joined([element("code", beginning), "" if same else f" … {account.key[-4:]}"])
    number = void("input", type="hidden", name="account", value=account.number)
    nothing = void("input", type="hidden", name="credits", value="0")
    amount = void(
        "input",
        name="credits",
        inputmode="numeric",
        size="6",
        required="",
        pattern="[0-9]+",
        placeholder="100",
        aria_label=f"Credits left of account {account.number}",
    )
    return (
        name,
        says,
        ", ".join(f"{used:,}" for used in accounts.calls_of(account).values()),
        account.used,
        account.left,
        element(
            "div",
            posting(
                "/_control/credits",
                "Set",
                number,
                amount,
                names=f"Set the credits of account {account.number}",
            ),
            posting(
                "/_control/credits",
                "Drain",
                number,
                nothing,
                kind="off",
                names=f"Drain account {account.number}",
            )
            if account.left
            else "",
            class_="side",
        ),
    )


def _latest(ledger: Ledger) -> Html:
    entries = ledger.entries()
    if not entries:
        return element("p", "None yet.", class_="quiet")
    latest = list(reversed(entries[-SHOWN_CALLS:]))
    return joined([calls_table(latest), element("p", link("/calls", f"All {len(entries):,}"))])
