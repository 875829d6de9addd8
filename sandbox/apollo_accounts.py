"""Apollo's view of an API key: its plan, its credits and its rate windows."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.records import WORLD_DAY

KEY: Final = "sandbox-apollo-key"
DEFAULT_CREDITS: Final = 100_000
WINDOWS: Final = (("minute", 60), ("hourly", 3_600), ("24-hour", 86_400))
USAGE_NAMES: Final = {"minute": "minute", "hourly": "hour", "24-hour": "day"}


@dataclass(frozen=True, slots=True)
class Plan:
    """Calls a window for each group of endpoints; None is unlimited."""

    search: tuple[int | None, int | None, int | None]
    enrichment: tuple[int | None, int | None, int | None]
    credits: int
    has_api: bool = True  # else each endpoint is a 403
    sees_usage: bool = True  # the key has the scope of the usage endpoints

    def limits(self, group: str) -> tuple[int | None, int | None, int | None]:
        return self.search if group == "search" else self.enrichment


PAID_SEARCH: Final = (200, 6_000, 50_000)
PAID_ENRICHMENT: Final = (1_000, None, None)
FREE_WINDOWS: Final = (50, 200, 600)
ROOMY: Final = Plan((20_000, 600_000, None), (20_000, 600_000, None), DEFAULT_CREDITS)
PAID: Final = Plan(PAID_SEARCH, PAID_ENRICHMENT, DEFAULT_CREDITS)
NO_SCOPE: Final = Plan(PAID_SEARCH, PAID_ENRICHMENT, DEFAULT_CREDITS, sees_usage=False)
TIGHT: Final = Plan((5, 400, 2_000), (5, 400, 2_000), DEFAULT_CREDITS)
FREE: Final = Plan(FREE_WINDOWS, FREE_WINDOWS, 50)
FREE_WITHOUT_API: Final = Plan(FREE_WINDOWS, FREE_WINDOWS, 50, has_api=False)
NO_CREDIT: Final = Plan(PAID_SEARCH, PAID_ENRICHMENT, 0)
# The first beginning that fits names the plan; a key that fits none is unknown to Apollo.
PLANS: Final = (
    (KEY, ROOMY, "everything works; far wider limits than Apollo's"),
    ("paid-plan-key", PAID, "a paid plan with its real limits"),
    ("limited-key", TIGHT, "five calls a minute"),
    ("free-limits-key", FREE, "a free plan that may call, with its real limits and 50 credits"),
    ("free-plan-key", FREE_WITHOUT_API, "a free plan that may not call: 403"),
    ("no-credit-key", NO_CREDIT, "no credits: paid calls are 422"),
    ("no-scope-key", NO_SCOPE, "may not see its usage: 403 there"),
)


@dataclass(slots=True)
class Account:
    number: int  # in the order of the first calls
    key: str = field(repr=False)
    plan: Plan
    granted: int
    used: int = 0
    calls: dict[tuple[str, str, int], int] = field(default_factory=dict)  # endpoint, window, its number

    @property
    def left(self) -> int:
        return self.granted - self.used


class OutOfCredits(Exception):
    pass


class TooManyCalls(Exception):
    def __init__(self, window: str, limit: int, retry_after: int) -> None:
        super().__init__(window)
        self.window, self.limit, self.retry_after = window, limit, retry_after


class Accounts:
    """One account a key. Those of the plans' own keys are open from the start."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts = dict[str, Account]()
        for beginning, *_ in PLANS:
            self.find(beginning)

    def find(self, key: str) -> Account | None:
        """The key's account, opened with its plan's credits at its first call; None for an unknown key."""
        plan = next((plan for beginning, plan, _ in PLANS if key.startswith(beginning)), None)
        if plan is None:
            return None
        with self._lock:
            return self._accounts.setdefault(key, Account(len(self._accounts), key, plan, plan.credits))

    def listed(self) -> Sequence[Account]:
        with self._lock:
            return tuple(self._accounts.values())

    def numbered(self, number: int) -> Account | None:
        return next((account for account in self.listed() if account.number == number), None)

    def set_left(self, account: Account, credits_left: int) -> None:
        with self._lock:
            account.granted = account.used + credits_left

    def charge(self, account: Account, credits_due: int, *, empty: bool = False) -> None:
        """Raises OutOfCredits, and takes nothing, when the balance (none if `empty`) does not cover it."""
        with self._lock:
            if credits_due > (0 if empty else account.left):
                raise OutOfCredits
            account.used += credits_due

    def count_call(self, account: Account, endpoint: str, group: str) -> Mapping[str, str]:
        """Count the call in its fixed windows and say so in headers. Raises TooManyCalls, uncounted."""
        now = int(self._clock())
        slots = [(endpoint, name, now // seconds) for name, seconds in WINDOWS]
        limits = account.plan.limits(group)
        with self._lock:
            for slot, limit, (name, seconds) in zip(slots, limits, WINDOWS, strict=True):
                if limit is not None and account.calls.get(slot, 0) >= limit:
                    raise TooManyCalls(USAGE_NAMES[name], limit, seconds - now % seconds)
            headers = dict[str, str]()
            for slot, limit in zip(slots, limits, strict=True):
                used = account.calls[slot] = account.calls.get(slot, 0) + 1
                headers |= _window_headers(slot[1], limit, used)
        return headers

    def calls_of(self, account: Account) -> Mapping[str, int]:
        """How many calls the account's windows hold now, over all endpoints, by the window's name."""
        now = int(self._clock())
        with self._lock:
            return {
                USAGE_NAMES[name]: sum(
                    used
                    for (_, window, number), used in account.calls.items()
                    if window == name and number == now // seconds
                )
                for name, seconds in WINDOWS
            }

    def credit_usage(self, account: Account) -> Mapping[str, Any]:
        with self._lock:
            lead = {"limit": account.granted, "consumed": account.used, "left_over": account.left}
        return {
            "credit_usage_stats": {
                "lead_credit": lead,
                "direct_dial_credit": {"limit": 0, "consumed": 0, "left_over": 0},
                "export_credit": {"limit": 0, "consumed": 0, "left_over": 0},
            },
            "current_credit_cycle": {
                "start_date": WORLD_DAY.isoformat(),
                "end_date": WORLD_DAY.replace(day=30).isoformat(),
            },
        }

    def api_usage(self, account: Account, endpoints: Mapping[str, str]) -> Mapping[str, Any]:
        """By endpoint (with its group), the limit and the use of each window."""
        now = int(self._clock())
        usage = dict[str, Any]()
        with self._lock:
            for endpoint, group in endpoints.items():
                controller, _, action = endpoint.rpartition("/")
                usage[f'["api/v1/{controller}", "{action}"]'] = {
                    USAGE_NAMES[name]: _used(limit, account.calls.get((endpoint, name, now // seconds), 0))
                    for (name, seconds), limit in zip(WINDOWS, account.plan.limits(group), strict=True)
                }
        return usage


def _window_headers(window: str, limit: int | None, used: int) -> Mapping[str, str]:
    """An unlimited window has empty values, as Apollo sends them."""
    return {
        f"x-rate-limit-{window}": "" if limit is None else str(limit),
        f"x-{window}-usage": str(used),
        f"x-{window}-requests-left": "" if limit is None else str(limit - used),
    }


def _used(limit: int | None, used: int) -> Mapping[str, int | None]:
    return {"limit": limit, "consumed": used, "left_over": None if limit is None else limit - used}
