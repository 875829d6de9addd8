"""How long a quiet tenant waits beside a noisy one: from its run's acceptance to the agent's first line.

Two installations of the product stand side by side. In one nobody else is there. In the other a tenant has
thousands of pending runs, which the workers are busy with as far as its limit lets them, and its client
goes on posting more. A sample starts one run of the quiet tenant in each, while the other installation's
processes are stopped; the acceptance ends with its commit and the message, the wait ends when the agent
begins, after the claim's commit.

A worker is a process that answers one message at a time through the entry point that Lambda calls, as there;
there are more of them than the limit, though fewer than `app.py` allows. The doorbell is first come, first
served and knows no tenants, as SQS. So what is measured is the design: about one message a tenant in the
queue however many runs it has, a limit of slots a tenant that leaves workers to others, and a claim that
looks at one tenant's rows only. The noisy tenant's steps take as long as a quick call of a provider does,
so that the wait is for workers, messages and locks more than for this machine's few cores; what the
noise needs of those is in the wait as well, which is more than on Lambda, where a worker has its own.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.children import Child
from bench.doorbell import Doorbell
from bench.engine_child import NO_OP
from bench.installation import DATABASE, Installation, installed
from bench.measuring import Report, in_turns, p99
from bench.watching import Watch

PENDING: Final = 5000
WORKERS: Final = 8
STEP_SECONDS: Final = 0.2
POST_EVERY_SECONDS: Final = 0.1
"""More often than the noisy tenant's slots can end runs, so that the backlog does not shrink."""

TIMES: Final = 50
WARM_UP: Final = WORKERS
"""The longest idle reader gets the message, so that each worker has had one by then."""
SETTLE_SECONDS: Final = 0.15
"""After a pause, so that the noise is a noise again and not a volley."""

_BACKLOG: Final = """
    INSERT INTO agent_runs (id, customer_id, agent_type, agent_version, status, trigger, input, config,
                            approval_required, approval_expiry_hours, requested_by)
    SELECT new_id('run'), u.customer_id, '{agent_type}', '1', 'pending', 'api', '{{"seconds": {seconds}}}', '{{}}',
           false, 72, u.id
    FROM users u, generate_series(1, {count}) WHERE u.subject = '{subject}'
"""


def measure() -> Report:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bevyly-bench-")))
        beside, alone = (stack.enter_context(_place(folder / name)) for name in ("beside", "alone"))
        beside.make_noise()
        waits, empty = in_turns(beside.sample, alone.sample, runs=TIMES, warm_up=WARM_UP)
        pending, running = beside.pending(), beside.most_running
    return Report(
        bench="noisy_tenant",
        ours=waits,
        theirs=empty,
        unit="ms",
        reference="the same wait where nobody else is",
        extras={
            "ours_p99": round(p99(waits), 3),
            "theirs_p99": round(p99(empty), 3),
            "noisy_pending_at_the_end": pending,
            "noisy_running": running,
            "workers": WORKERS,
        },
    )


class _Place:
    """One installation with its workers, and somebody who starts a run now and then."""

    def __init__(self, installation: Installation, folder: Path, stack: ExitStack) -> None:
        self._installation, self._folder, self._stack = installation, folder, stack
        self._doorbell = Doorbell.made()
        stack.callback(self._doorbell.close)
        self._watch = Watch(installation.all_seeing_url)
        stack.callback(self._watch.close)
        self.noisy, self.quiet = installation.people
        self._client = self._child("client", "accept", "--watch-url", installation.all_seeing_url)
        self._others = [self._child(f"worker-{number}", "work") for number in range(WORKERS)]
        self.most_running = 0
        for child in self._others:
            child.pause()

    def make_noise(self) -> None:
        """Give the noisy tenant its backlog, a ring, and a client that goes on."""
        sql = _BACKLOG.format(agent_type=NO_OP.type, seconds=STEP_SECONDS, count=PENDING, subject=self.noisy)
        postgres = self._installation.postgres
        postgres.execute(sql, database=DATABASE)
        postgres.execute("ANALYZE agent_runs", database=DATABASE)
        noise = self._child("noise", "accept", "--watch-url", self._installation.all_seeing_url)
        noise.ask("go_on", person=self.noisy, seconds=STEP_SECONDS, every=POST_EVERY_SECONDS)
        noise.pause()
        self._others.append(noise)

    def sample(self) -> float:
        """Milliseconds that the quiet tenant's run waits."""
        for child in self._others:
            child.resume()
        time.sleep(SETTLE_SECONDS + random.uniform(0, STEP_SECONDS))
        self.most_running = max(self.most_running, self._watch.value(_count("running")))
        posted = self._client.ask("post", person=self.quiet, seconds=0)
        run = f"FROM agent_runs WHERE id = '{posted['run']}'"
        self._watch.until(f"SELECT status = 'completed' {run}", every_seconds=0.005)
        began = float(self._watch.value(f"SELECT (output->>'beganAt')::float8 {run}"))
        for child in self._others:
            child.pause()
        return (began - float(posted["acceptedAt"])) * 1000

    def pending(self) -> int:
        return int(self._watch.value(_count("pending")))

    def _child(self, name: str, role: str, *more: str) -> Child:
        ends = self._doorbell.ends
        return self._stack.enter_context(
            Child(
                ["-m", "bench.engine_child", role, *map(str, ends), *more],
                environ=self._installation.environ(),
                log_file=self._folder / f"{name}.log",
                fds=ends,
            )
        )


def _count(status: str) -> str:
    return f"SELECT count(*) FROM agent_runs WHERE status = '{status}'"  # noqa: S608 - ours


@contextmanager
def _place(folder: Path) -> Iterator[_Place]:
    folder.mkdir()
    with installed(customers=2) as installation, ExitStack() as stack:
        yield _Place(installation, folder, stack)
