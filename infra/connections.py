"""How many database connections a stage may ever want, and how many there are. `python -m infra.connections`.

Wanted: each running instance of a function holds, at worst, one transaction of each of its two engines (bevyly_app
and bevyly_system), with as many connections as its pool has. In between the proxy lends them to others, but nobody
may count on that: a burst would wait at the proxy, and time out after ten seconds.

There: Aurora derives max_connections from the largest capacity. AWS's table says 189 at 1 ACU, 823 at 4, 1,669 at 8,
3,360 at 16, and 5,000 from 32; 189 for each ACU is never more than the table. With a smallest capacity under 1 ACU it
is 2,000 at most. The proxy takes its percentage of that; what is left is for migrations, AWS's own agents and people.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.functions import Function, of_app
from infra.rendering import STAGES, StageFile

CONNECTIONS_PER_ACU: Final = 189
MOST_CONNECTIONS: Final = 5_000
MOST_CONNECTIONS_OF_A_SMALL_ONE: Final = 2_000
ENGINES: Final = 2
NOT_THE_PROXYS: Final = 30
"""Reserved for superusers, AWS's agents, a migration, and somebody who looks."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A stage's figures."""

    stage: str
    concurrency: Mapping[str, int]  # of each function
    pool_size: int
    there: int  # max_connections
    percent: int
    alarm: int

    @property
    def wanted(self) -> int:
        return sum(self.concurrency.values()) * ENGINES * self.pool_size

    @property
    def lent(self) -> int:
        """What the proxy may take of the database."""
        return self.there * self.percent // 100

    def problems(self) -> list[str]:
        """What does not fit, in sentences."""
        found = []
        if self.wanted > self.lent:
            found.append(
                f"{self.stage}: functions may want {self.wanted} connections, the proxy has {self.lent}. "
                "Raise MaxCapacity, or lower a concurrency."
            )
        if self.there - self.lent < NOT_THE_PROXYS:
            found.append(
                f"{self.stage}: {self.there - self.lent} connections are left beside the proxy, "
                f"{NOT_THE_PROXYS} are needed. Lower ProxyConnectionsPercent."
            )
        if not self.wanted <= self.alarm <= self.lent:
            found.append(
                f"{self.stage}: ConnectionsAlarm is {self.alarm}; it says something between "
                f"{self.wanted} and {self.lent}."
            )
        return found


def max_connections(*, smallest: float, largest: float) -> int:
    """Of Aurora Serverless v2 with these capacities in ACUs, rather too few than too many."""
    most = MOST_CONNECTIONS_OF_A_SMALL_ONE if smallest < 1 else MOST_CONNECTIONS
    return min(int(largest * CONNECTIONS_PER_ACU), most)


def budget(given: StageFile, functions: Sequence[Function]) -> Budget:
    """Raises ValueError for a function whose concurrency nothing limits, and for a pool that is none."""
    limits = {each.name: _most_at_once(each, given) for each in functions}
    if unlimited := [name for name, most in limits.items() if most is None]:
        raise ValueError(
            f"Nothing limits how many run at once of {', '.join(unlimited)}: say maximum_concurrency in app.py, "
            f"or a figure under `concurrency` in infra/parameters/{given.stage}.json."
        )
    data, proxy = given.with_defaults("data"), given.with_defaults("proxy")
    return Budget(
        stage=given.stage,
        concurrency={name: most for name, most in limits.items() if most is not None},
        pool_size=_pool_size(given),
        there=max_connections(smallest=float(data["MinCapacity"]), largest=float(data["MaxCapacity"])),
        percent=int(proxy["ProxyConnectionsPercent"]),
        alarm=int(given.stacks["observability"]["ConnectionsAlarm"]),
    )


def _pool_size(given: StageFile) -> int:
    """Connections that one function keeps of each kind, unless the stage says otherwise."""
    said = given.settings.get("DATABASE_POOL_SIZE", "1")
    if not said.isdecimal():
        raise ValueError(
            f"DATABASE_POOL_SIZE is a whole number, not {said!r}: infra/parameters/{given.stage}.json."
        )
    return max(int(said), 1)


def _most_at_once(function: Function, given: StageFile) -> int | None:
    return function.maximum_concurrency or given.concurrency.get(function.name)


def main() -> int:
    from app import app  # noqa: PLC0415 - it reads the environment when imported

    problems: list[str] = []
    for stage in STAGES:
        figures = budget(StageFile.of(stage), of_app(app, stage))
        print(f"{stage}: wants {figures.wanted}, is lent {figures.lent} of {figures.there}")
        problems += figures.problems()
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
