"""The steps of a deploy and of a rollback, in their order. Each says in a line what it did."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy import configuration, console, gateway, logs, migrate, preflight, smoke, staging
from infra.deploy.bucket import Bucket, Lock, locked
from infra.deploy.cloud import Cloud, DeployError
from infra.deploy.functions import Functions
from infra.deploy.given import Given
from infra.deploy.preflight import Found, Preflight
from infra.deploy.stacks import Stack, Stacks
from infra.deploy.staging import Staged
from infra.deploy.state import Release, State, forget_old_releases
from infra.functions import ROOT
from infra.package.build import Built, build
from infra.package.target import Architecture
from infra.rendering import STACKS, sent_text, template_text

BEFORE_THE_FUNCTIONS: Final = ("network", "data", "messaging", "identity", "functions", "edge")
EDGE_VERSION: Final = "EdgeSecretVersion"
"""The parameter of `edge`."""

MASTER_SECRET: Final = "MasterSecretArn"  # noqa: S105 - its name
"""An output of `data`, and the parameter of `functions` that is given it."""

OPTIONAL: Final = "streaming"
"""Made where its parameters are named in the stage's file."""

Tell = Callable[[str], None]
Builder = Callable[[Architecture, Path], Built]


def _from_the_tree(architecture: Architecture, out: Path) -> Built:
    return build(architecture, out, tell=lambda _: None)


@dataclass(frozen=True, slots=True)
class Options:
    """What somebody chose."""

    stage: str
    architecture: Architecture = Architecture.X86_64
    out: Path = ROOT / "build"
    page: Path = ROOT / "frontend" / "dist"
    take_over: bool = False
    may_replace: tuple[str, ...] = ()
    database_ca: Path | None = None
    patience: timedelta = timedelta(seconds=smoke.PATIENCE)
    pause: Callable[[float], None] = time.sleep
    build: Builder = _from_the_tree
    tell: Tell = print


@dataclass
class Context:
    """What every step may use."""

    options: Options
    cloud: Cloud
    bucket: Bucket
    stacks: Stacks
    release: Release
    staged: Staged
    authorities: str = ""
    goes_back: bool = False  # a rollback, which leaves the stacks as they are
    outputs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, bucket: Bucket, options: Options, release: Release, staged: Staged, authorities: str = ""
    ) -> "Context":
        stacks = Stacks(bucket.cloud, bucket, options.pause)
        return cls(options, bucket.cloud, bucket, stacks, release, staged, authorities)

    @property
    def given(self) -> Given:
        return self.staged.given

    @cached_property
    def functions(self) -> Functions:
        """Not before `config`: they are read once."""
        pause = self.options.pause
        return Functions(self.bucket, self.staged.folder, self.release.package, self.say, pause)

    @property
    def api_stage(self) -> str:
        return str(self.staged.base["api_gateway_stage"])

    def say(self, line: str) -> None:
        self.options.tell(f"               {line}")

    def stack(self, name: str, **more: str) -> Stack:
        return Stack(
            self.cloud.stack_name(name),
            sent_text(name, self.options.stage),
            {**self.given.file.parameters(name), **more},
            self.options.stage,
        )

    @cached_property
    def secrets(self) -> configuration.Secrets:
        """Read once: what the functions were given is what the edge sends."""
        sent = self.stacks.parameter(self.cloud.stack_name("edge"), EDGE_VERSION)
        return configuration.Secrets.read(
            self.cloud, self.outputs, sent_by_the_edge=sent, edge_stays=self.goes_back
        )

    def look_at_outputs(self) -> None:
        self.outputs = self.stacks.outputs([self.cloud.stack_name(name) for name in STACKS])


# Each step


def infra(context: Context) -> str:
    """The stacks that must be there before the functions."""
    names = [*BEFORE_THE_FUNCTIONS, *([OPTIONAL] if context.given.file.stacks.get(OPTIONAL) else [])]
    done: dict[str, list[str]] = {}
    for name in names:
        stack = context.stack(name, **_told_by_others(context, name))
        what = context.stacks.bring_up(stack, may_replace=context.options.may_replace)
        done.setdefault(what, []).append(name)
        if what != "unchanged":
            context.say(f"{name} {what}")
    return "; ".join(f"{what}: {', '.join(those)}" for what, those in done.items())


def _told_by_others(context: Context, stack: str) -> dict[str, str]:
    """Parameters that are neither the stage's file's nor an import."""
    if stack == "edge":  # it keeps the API that it has
        name = context.cloud.stack_name(stack)
        return {each: context.stacks.parameter(name, each) for each in ("ApiId", EDGE_VERSION)}
    if stack == "functions":
        data = context.stacks.outputs([context.cloud.stack_name("data")])
        return {MASTER_SECRET: data[MASTER_SECRET]}
    return {}


def migrations(context: Context) -> str:
    """In the VPC, with the new code, while the old serves."""
    context.look_at_outputs()
    package = migrate.Package(
        context.release.key(staging.PACKAGE), context.release.package, context.release.architecture
    )
    migrate.bring_up(context.bucket, package, context.outputs)
    said = migrate.run(context.bucket, context.authorities)
    for each in said["roles"]:
        context.say(each)
    if said["from"] == said["to"]:
        return f"at {said['to']} already"
    return f"from {said['from'] or 'nothing'} to {said['to']}"


def proxy(context: Context) -> str:
    """The pooler, now that there are roles to sign in as."""
    return context.stacks.bring_up(context.stack("proxy"), may_replace=context.options.may_replace)


def config(context: Context) -> str:
    """`.chalice/config.json` in the staging folder."""
    context.look_at_outputs()
    secrets = context.secrets
    made = configuration.render(
        context.staged.base,
        context.given.file,
        context.outputs,
        secrets,
        settings=context.given.settings,
        architecture=context.release.architecture,
    )
    staging.write_config(context.staged.folder, made)
    (stage,) = made["stages"].values()
    return f"{len(stage['environment_variables'])} settings, {len(stage['lambda_functions'])} functions"


def functions(context: Context) -> str:
    """`chalice deploy`."""
    return "deployed by chalice" if context.functions.bring_up() else "unchanged"


def answers(context: Context) -> str:
    """API Gateway's own errors."""
    changed = gateway.bring_up(context.cloud, context.functions.api(), context.api_stage)
    return "API Gateway's errors have the API's form" if changed else "unchanged"


def edge(context: Context) -> str:
    """CloudFront leads to the API."""
    more = {"ApiId": context.functions.api(), EDGE_VERSION: context.secrets.edge_version}
    return context.stacks.bring_up(context.stack("edge", **more), may_replace=context.options.may_replace)


def observability(context: Context) -> str:
    """Alarms and dashboard, now that there is something to watch."""
    stack = context.stack("observability")
    what = context.stacks.bring_up(stack, may_replace=context.options.may_replace)
    for line in unconfirmed(context.cloud, context.stacks.outputs([stack.name])["TopicArn"]):
        context.say(line)
    return what


def unconfirmed(cloud: Cloud, topic: str) -> Iterator[str]:
    """Who is to be told of alarms, and has not said yes. A deploy does not fail for that."""
    try:
        pages = cloud.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
        for each in (each for page in pages for each in page["Subscriptions"]):
            if each["SubscriptionArn"] == "PendingConfirmation":
                yield f"{each['Endpoint']} is told of no alarm before the link in AWS's e-mail is followed"
    except ClientError as error:
        yield f"whether somebody is told of alarms cannot be seen: {error}"


def page(context: Context) -> str:
    """The console, from the day there is one."""
    if context.staged.console is None:
        source = context.options.page.parent
        return f"{source.name}/ is not built: nothing is uploaded" if source.is_dir() else "there is none yet"
    written = console.upload(
        context.cloud,
        context.staged.console,
        bucket=context.outputs["ConsoleBucket"],
        distribution=context.outputs["DistributionId"],
    )
    return f"{len(written)} files uploaded" if written else "unchanged"


def checks(context: Context) -> str:
    """Everything is as it was meant. Raises DeployError with all that is not."""
    found = context.functions.problems()
    found += gateway.problems(context.cloud, context.functions.api(), context.api_stage)
    found += _log_groups(context)
    if found:
        raise DeployError("Not all is as it should be:\n" + "\n".join(f"  - {each}" for each in found))
    return "functions, mappings, rules, permissions, environment, answers, logs are as they should be"


def _log_groups(context: Context) -> list[str]:
    """As the stacks were given, which a rollback leaves as they are. What differs is set right."""
    groups = logs.wanted(context.cloud, context.stacks, context.outputs["DataKeyArn"])
    return [problem for each in groups for problem in logs.set_right(context.cloud, each, context.say)]


def public(context: Context) -> str:
    """The smoke test."""
    other = State.read(context.bucket).to_go_back_to()
    lines = smoke.ask_as_a_stranger(
        context.outputs["PublicOrigin"],
        leads_to=context.outputs["DistributionDomainName"],
        other=None if other in {None, context.release} else other.id,
        patience=context.options.patience.total_seconds(),
        pause=context.options.pause,
    )
    for each in lines:
        context.say(each)
    return "the public address answers"


@dataclass(frozen=True, slots=True)
class Step:
    """`always`: also when a deploy goes on that had done it, since secrets may have changed meanwhile."""

    name: str
    do: Callable[[Context], str]
    always: bool = False


DEPLOY: Final = (
    Step("infra", infra),
    Step("migrations", migrations),
    Step("proxy", proxy),
    Step("config", config, always=True),
    Step("functions", functions, always=True),
    Step("answers", answers, always=True),
    Step("edge", edge, always=True),
    Step("observability", observability),
    Step("console", page),
    Step("checks", checks, always=True),
    Step("smoke", public, always=True),
)
ROLLBACK: Final = (
    Step("config", config),
    Step("functions", functions),
    Step("answers", answers),
    Step("console", page),
    Step("checks", checks),
    Step("smoke", public),
)


# The whole


def deploy(options: Options) -> Release:
    """From preflight to smoke test; started again after a failure, it goes on where that was.

    Raises:
        DeployError: says which step failed, why, and what to do.
    """
    cloud = Cloud(options.stage)
    bucket = Bucket(cloud)
    looked = Preflight(
        cloud,
        Stacks(cloud, bucket, options.pause),
        lambda: options.build(options.architecture, options.out),
        options.database_ca,
        options.take_over,
    )
    _tell(options, "preflight", f"{options.stage}, {_where(cloud)}")
    found = looked.run()
    for note in found.notes:
        _tell(options, "", note)
    _tell(options, "package", f"{found.built.sizes.zip_mb} MB, {found.built.sha256[:12]}")
    if bucket.ensure():
        _tell(options, "bucket", f"{bucket.name} made")
    with locked(bucket, "deploy", take_over=options.take_over) as lock:
        return _deploy(options, bucket, found, lock)


def _where(cloud: Cloud) -> str:
    try:
        return f"account {cloud.account}, {cloud.region}"
    except DeployError:
        return "an unknown account"


def _deploy(options: Options, bucket: Bucket, found: Found, lock: Lock) -> Release:
    page_folder = options.page if options.page.is_dir() else None
    state = State.read(bucket)
    release = state.release_of(
        _fingerprint(found, page_folder),
        package=found.built.sha256,
        architecture=str(found.built.architecture),
        commit=found.commit,
    )
    serves_already = release == state.serving() and state.under_way is None
    goes_on = release == state.under_way
    said = "as it serves" if serves_already else "goes on" if goes_on else "is new"
    _tell(options, "release", f"{release.id} {said}")
    base = json.loads((found.built.stage / ".chalice" / "config.json").read_text())
    staging.keep(bucket, release, found, page_folder)
    if not serves_already:
        state = state.began(release)
        state.write(bucket)
    staged = Staged(found.built.stage, base, found.given, page_folder)
    context = Context.of(bucket, options, release, staged, found.authorities)
    try:
        state = _run(context, state, lock)
    finally:
        staging.write_config(staged.folder, base)  # without secrets
    if not serves_already:
        state = state.finished(release)
        state.write(bucket)
        for old in forget_old_releases(bucket, state):
            _tell(options, "bucket", f"release {old} is forgotten")
    _tell(options, "done", f"{release.id} serves at {context.outputs['PublicOrigin']}")
    return release


def _run(context: Context, state: State, lock: Lock) -> State:
    """What is not done yet."""
    for step in DEPLOY:
        if step.name in state.done and not step.always:
            _tell(context.options, step.name, f"done at {state.done[step.name]}")
            continue
        _do(step, context, lock)
        if state.under_way is not None:
            state = state.with_done(step.name)
            state.write(context.bucket)
    return state


def rollback(options: Options, *, to: str | None = None) -> Release:
    """Let the release before serve again, from the bucket. The database keeps its revision.

    Args:
        options: as of a deploy; the tree is not looked at.
        to: a release's id; without, the one before, or the one that served before a deploy that failed.

    Raises:
        PreflightError: the stacks as they are do not suit that release; nothing has been done.
        DeployError: says which step failed, why, and what to do.
    """
    cloud = Cloud(options.stage)
    bucket = Bucket(cloud)
    _tell(options, "rollback", f"{options.stage}, account {cloud.account}, {cloud.region}")
    if State.read(bucket) == State():
        raise DeployError(f"Nothing has been deployed to {options.stage} from here.")
    with locked(bucket, "rollback", take_over=options.take_over) as lock:
        state = State.read(bucket)
        release = _target(state, to)
        _tell(options, "release", f"{release.id}, made {release.made} from {release.commit[:12]}")
        staged = staging.fetch(bucket, release, options.out / "rollback")
        context = Context.of(bucket, options, release, staged)
        context.goes_back = True
        _look_before_going_back(context, state)
        try:
            for step in ROLLBACK:
                _do(step, context, lock)
        finally:
            staging.write_config(staged.folder, staged.base)  # without secrets
        state.finished(release).write(bucket)
        _tell(options, "done", f"{release.id} serves at {context.outputs['PublicOrigin']}")
        _tell(
            options,
            "",
            "The database keeps its revision and the stacks what they were given: both suit older code.",
        )
        return release


def _look_before_going_back(context: Context, state: State) -> None:
    """Raises PreflightError that names everything in the way."""
    others = [each for each in state.releases if each not in (context.release, state.serving())]
    problems = preflight.before_going_back(
        context.cloud,
        context.stacks,
        context.given,
        context.staged.functions,
        {each.id: staging.functions_of(context.bucket, each) for each in others},
    )
    if problems:
        raise preflight.PreflightError(problems)
    context.options.tell(f"{'preflight':<14} nothing is in the way")


def _target(state: State, to: str | None) -> Release:
    known = ", ".join(each.id for each in state.releases) or "none"
    if to is not None:
        found = next((each for each in state.releases if each.id == to), None)
        if found is None:
            raise DeployError(f"There is no release {to}. Kept are: {known}.")
        return found
    target = state.to_go_back_to()
    if target is None:
        raise DeployError(f"There is no release to go back to. Kept are: {known}.")
    return target


def _do(step: Step, context: Context, lock: Lock) -> None:
    lock.check()
    try:
        said = step.do(context)
    except (DeployError, BotoCoreError, ClientError) as error:
        raise DeployError(f"{step.name}: {error}") from error
    _tell(context.options, step.name, said)


def _tell(options: Options, name: str, said: str) -> None:
    options.tell(f"{name:<14} {said}")


def _fingerprint(found: Found, page_folder: Path | None) -> str:
    made_from: Mapping[str, Any] = {
        "package": found.built.sha256,
        "architecture": str(found.built.architecture),
        "config": (found.built.stage / ".chalice" / "config.json").read_text(),
        "given": found.given.said,
        "templates": {name: template_text(name) for name in STACKS},
        "console": {}
        if page_folder is None
        else {name: path.read_bytes().hex() for name, path in console.files(page_folder).items()},
    }
    return preflight.fingerprint_of(made_from)
