"""Everything that can be wrong before anything is done, all of it at once, each with what to do."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from infra import checks
from infra.deploy import exports, looks, migrate
from infra.deploy.bucket import Bucket, held_by, holder
from infra.deploy.cloud import Cloud, DeployError, code_of
from infra.deploy.configuration import Secrets, secret_outputs
from infra.deploy.existing import reserved
from infra.deploy.given import Given
from infra.deploy.stacks import STUCK, Stacks, way_out
from infra.functions import ROOT, Function, of_app, words
from infra.package.build import Built
from infra.package.target import PackageError
from infra.package.trees import must_be_python
from infra.rendering import STACKS, StageFile

ALWAYS_UNRESERVED: Final = 100
"""Of an account's concurrency, which AWS does not let anybody reserve."""

Build = Callable[[], Built]
Result = TypeVar("Result")


class PreflightError(DeployError):
    """Nothing has been done. The message is a list."""

    def __init__(self, problems: list[str]) -> None:
        what = "1 thing is" if len(problems) == 1 else f"{len(problems)} things are"
        super().__init__(
            "\n".join([f"{what} in the way; nothing has been done:", *(f"  - {each}" for each in problems)])
        )
        self.problems = problems


@dataclass(slots=True)
class Found:
    """What a preflight without problems leaves."""

    given: Given
    built: Built
    authorities: str
    commit: str
    functions: list[Function]
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Preflight:
    """Of one stage. `take_over`: a lock that somebody holds is no problem."""

    cloud: Cloud
    stacks: Stacks
    build: Build
    database_ca: Path | None
    take_over: bool
    tree: Path = ROOT
    notes: list[str] = field(default_factory=list)

    def run(self) -> Found:
        """Raises PreflightError that names everything."""
        problems: list[str] = []
        given = self._try(lambda: Given.read(self.cloud.stage), problems)
        functions = self._try(self._functions, problems)
        problems += self._of_this_machine()
        built = self._try(self.build, problems)
        authorities = self._try(lambda: migrate.authorities(self.database_ca), problems)
        if given is not None and functions is not None:
            problems += self._of_the_templates(given, functions)
            problems += self._alarms(given)
        if self._try(lambda: self.cloud.account, problems) is not None:
            problems += self._of_aws(given, functions or [])
        if problems:
            raise PreflightError(problems)
        assert given is not None and built is not None and authorities is not None  # noqa: PT018 - else problems
        return Found(given, built, authorities, commit(self.tree), functions or [], self.notes)

    def _try(self, make: Callable[[], Result], problems: list[str]) -> Result | None:
        try:
            return make()
        except (DeployError, PackageError) as error:
            problems.append(str(error))
            return None

    def _functions(self) -> list[Function]:
        from app import app  # noqa: PLC0415 - it reads the environment when imported

        return of_app(app, self.cloud.stage)

    def _of_this_machine(self) -> Iterator[str]:
        try:
            must_be_python()
        except PackageError as error:
            yield str(error)
        changed = _git(self.tree, "status", "--porcelain")
        if self.cloud.stage == "prod":
            if changed is None:
                yield "This is no git repository, so nobody could say what prod runs. Deploy from a clone."
            elif changed:
                count = len(changed.splitlines())
                yield f"The tree has changes that are not committed ({count} files). Commit or stash them."
        elif changed:
            self.notes.append(f"{len(changed.splitlines())} files are not committed")
        if shutil.which("git") is None:
            self.notes.append("git is not installed: the release will not say its commit")

    def _of_the_templates(self, given: Given, functions: list[Function]) -> Iterator[str]:
        try:
            yield from checks.problems(checks.installation(given.file, functions))
        except ValueError as error:
            yield f"infra/parameters/{given.stage}.json: {error}"

    def _alarms(self, given: Given) -> Iterator[str]:
        """Somebody is told of them."""
        if given.file.parameters("observability").get("AlarmAddress") or given.alarms_elsewhere:
            return
        where = f"infra/parameters/{given.stage}.json"
        if given.stage == "prod":
            yield (
                f"Nobody would be told of alarms. Say `AlarmAddress` under `observability` in {where}; or, when "
                'something of yours subscribes to the topic, `"alarms_elsewhere": true` at its top.'
            )
        else:
            self.notes.append(f"no AlarmAddress in {where}: nobody is told of alarms")

    def _of_aws(self, given: Given | None, functions: list[Function]) -> Iterator[str]:
        cloud = self.cloud
        if given is not None:
            yield from given.out_of_place(cloud)
        parts: list[Callable[[], Iterator[str]]] = [
            self._lock,
            self._stuck_stacks,
            lambda: self._queues(functions),
            self._secrets,
            lambda: self._exports(given),
        ]
        if given is not None:
            parts += [
                lambda: concurrency(self.cloud, given.file),
                *looks.all_of(self.cloud, self.stacks, given.file),
            ]
        yield from _looked(parts)

    def _lock(self) -> Iterator[str]:
        lock = holder(Bucket(self.cloud))
        if lock is not None:
            if self.take_over:
                self.notes.append("a lock is taken over")
            else:
                yield held_by(lock)

    def _stuck_stacks(self) -> Iterator[str]:
        for stack in STACKS:
            name = self.cloud.stack_name(stack)
            found = self.stacks.find(name)
            if found is not None and found["StackStatus"] in STUCK:
                yield (
                    f"Stack {name} is stuck: {found['StackStatus']}. Its events say why; then "
                    f"{way_out(name, found['StackStatus'])}."
                )

    def _queues(self, functions: list[Function]) -> Iterator[str]:
        """Those that exist hide a message long enough. The stack `messaging` makes the others."""
        outputs = self.stacks.outputs([self.cloud.stack_name("messaging")])
        if not outputs:
            self.notes.append("no queues yet: they will be made")
            return
        yield from queues(self.cloud, outputs, functions)

    def _secrets(self) -> Iterator[str]:
        outputs = self.stacks.outputs([self.cloud.stack_name(stack) for stack in STACKS])
        if not secret_outputs() <= outputs.keys():
            self.notes.append("not all stacks yet: their secrets will be made with them")
            return
        try:
            secrets = Secrets.read(self.cloud, outputs)
        except DeployError as error:
            yield str(error)
            return
        empty = [name for name, value in secrets.providers.items() if not value]
        if empty:
            self.notes.append(f"no keys of the installation's own: {', '.join(empty)}; tenants need theirs")

    def _exports(self, given: Given | None) -> Iterator[str]:
        try:
            yield from (
                exports.changed_in_use(self.cloud, self.stacks, given.file) if given is not None else ()
            )
        except ValueError:
            return  # parameters that do not fit; the templates' own check says which


# What a rollback looks at as well


def before_going_back(
    cloud: Cloud,
    stacks: Stacks,
    given: Given,
    functions: Collection[Function],
    others: Mapping[str, Collection[Function]],
) -> list[str]:
    """What is in a release's way: it takes the stacks as they are.

    Args:
        cloud: the stage.
        stacks: of the stage.
        given: as the release's.
        functions: of the release.
        others: functions of other releases that are kept, by the release's id.
    """
    parts: list[Callable[[], Iterator[str]]] = [
        lambda: _roles(stacks.outputs([cloud.stack_name("functions")]), functions, others),
        lambda: queues(cloud, stacks.outputs([cloud.stack_name("messaging")]), functions),
        lambda: concurrency(cloud, given.file),
    ]
    return list(_looked(parts))


def _looked(parts: Iterable[Callable[[], Iterator[str]]]) -> Iterator[str]:
    """What each says; that AWS refuses one look keeps nobody from the others."""
    for part in parts:
        try:
            yield from part()
        except (ClientError, BotoCoreError) as error:
            yield f"AWS refuses a look: {error}"


def _roles(
    outputs: Mapping[str, str], functions: Collection[Function], others: Mapping[str, Collection[Function]]
) -> Iterator[str]:
    def without(those: Collection[Function]) -> list[str]:
        return [each.name for each in those if f"{each.words}RoleArn" not in outputs]

    if lacking := without(functions):
        reached = [release for release, those in others.items() if those and not without(those)]
        way = f"Within reach: RELEASE={', '.join(reached)}" if reached else "No other release is within reach"
        yield (
            f"The stack functions, which a rollback leaves as it is, has no role for {', '.join(lacking)} of this "
            f"release. {way}; or deploy a tree whose infra/templates/functions.yaml has it."
        )


def queues(cloud: Cloud, outputs: Mapping[str, str], functions: Collection[Function]) -> Iterator[str]:
    """Those that functions read hide a message long enough. `outputs`: of the stack `messaging`."""
    sqs = cloud.client("sqs")
    for function in functions:
        if function.queue is None:
            continue
        output = f"{words(function.queue)}QueueName"
        name = outputs.get(output)
        if name is None:
            yield f"The stack messaging has no output {output}."
            continue
        try:
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        except ClientError as error:
            if "NonExistentQueue" not in code_of(error):
                raise
            yield f"The queue {name} is gone, though its stack is there. Delete the stack messaging, and deploy."
            continue
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
        hidden, least = (
            int(told["Attributes"]["VisibilityTimeout"]),
            checks.VISIBILITY * function.timeout_seconds,
        )
        if hidden < least:
            yield (
                f"The queue {name} hides a message for {hidden} s; {function.name} may take "
                f"{function.timeout_seconds} s, so it should be {least}. `aws sqs set-queue-attributes "
                f"--queue-url {url} --attributes VisibilityTimeout={least}`, and in the template, too."
            )


def concurrency(cloud: Cloud, given: StageFile) -> Iterator[str]:
    """The account runs enough functions at once."""
    account = cloud.client("lambda").get_account_settings()["AccountLimit"]
    limit = account["ConcurrentExecutions"]
    wanted = sum(given.concurrency.values())
    ours = (reserved(cloud, Function(name, 0).deployed_name(cloud.stage)) for name in given.concurrency)
    of_ours = sum(each for each in ours if each is not None)
    others = max(limit - account.get("UnreservedConcurrentExecutions", limit) - of_ours, 0)
    if wanted + others + ALWAYS_UNRESERVED > limit:
        yield (
            f"The account runs {limit} functions at once; the stage reserves {wanted}, others {others}, and "
            f"{ALWAYS_UNRESERVED} stay unreserved. Ask AWS for more (Service Quotas, Lambda, concurrent "
            f"executions), or lower `concurrency` in infra/parameters/{cloud.stage}.json."
        )


def commit(tree: Path) -> str:
    """What the release will say it was made from."""
    found = _git(tree, "rev-parse", "HEAD")
    return found.strip() if found else "unknown"


def _git(tree: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=tree, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def fingerprint_of(said: Mapping[str, Any]) -> str:
    """The same for the same things."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
