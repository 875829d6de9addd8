"""Apollo's view of an API key: its plan, its credits and its rate windows."""

import threading
import time
from collections.abc import Mapping
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
    free: bool = False

    def limits(self, group: str) -> tuple[int | None, int | None, int | None]:
        return self.search if group == "search" else self.enrichment


ROOMY: Final = Plan((20_000, 600_000, None), (20_000, 600_000, None), DEFAULT_CREDITS)
PAID: Final = Plan((200, 6_000, 50_000), (1_000, None, None), DEFAULT_CREDITS)
FREE: Final = Plan((50, 200, 600), (50, 200, 600), 50, free=True)
TIGHT: Final = Plan((5, 400, 2_000), (5, 400, 2_000), DEFAULT_CREDITS)
NO_CREDIT: Final = Plan((200, 6_000, 50_000), (1_000, None, None), 0)
# The first beginning that fits names the plan; a key that fits none is unknown to Apollo.
PLANS: Final = (
    (KEY, ROOMY),
    ("paid-plan-key", PAID),
    ("limited-key", TIGHT),
    ("free-plan-key", FREE),
    ("no-credit-key", NO_CREDIT),
)


@dataclass(slots=True)
class Account:
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
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts = dict[str, Account]()

    def find(self, key: str) -> Account | None:
        """The key's account, opened with its plan's credits at its first call; None for an unknown key."""
        plan = next((plan for beginning, plan in PLANS if key.startswith(beginning)), None)
        if plan is None:
            return None
        with self._lock:
            return self._accounts.setdefault(key, Account(plan, plan.credits))

    def grant(self, key: str, credits_left: int) -> bool:
        """Set what the key has left; False for an unknown key."""
        account = self.find(key)
        if account is None:
            return False
        with self._lock:
            account.granted = account.used + credits_left
        return True

    def charge(self, account: Account, credits_due: int, *, empty: bool = False) -> None:
        """Raises OutOfCredits, and takes nothing, when the balance (none if `empty`) does not cover it."""
        with self._lock:
            if credits_due > (0 if empty else account.left):
                raise OutOfCredits
            account.used += credits_due

    def count_call(self, account: Account, endpoint: str, group: str) -> Mapping[str, str]:
        """Count the call in its fixed windows and say so in headers. Raises TooManyCalls, uncounted."""
        now = int(time.time())
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
        now = int(time.time())
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
