"""From stacks' outputs and secrets to `.chalice/config.json`: infra/README.md, "From outputs to settings", as code."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError
from sqlalchemy import URL

from infra.deploy.cloud import APP, Cloud, DeployError, code_of
from infra.deploy.existing import function
from infra.functions import API_HANDLER, words
from infra.rendering import StageFile

FROM_OUTPUTS: Final[Mapping[str, str]] = {
    "RUNS_QUEUE": "RunsQueueName",
    "RUNS_DEAD_QUEUE": "RunsDeadQueueName",
    "RELAY_QUEUE": "RelayQueueName",
    "EFFECTS_QUEUE": "EffectsQueueName",
    "EVENTS_QUEUE": "EventsQueueName",
    "EVENT_BUS": "BusName",
    "EVENT_SOURCE": "EventSource",
    "OIDC_ISSUER": "Issuer",
    "OIDC_JWKS_URL": "JwksUrl",
    "OIDC_CLIENT_ID": "ClientId",
    "PUBLIC_ORIGIN": "PublicOrigin",
    "VAULT_KMS_KEY_ID": "VaultKeyAlias",
}
"""Settings that are an output as it is."""

OF_THE_API: Final = ("EDGE_SECRET", "COGNITO_CLIENT_SECRET")
EDGE_ONLY: Final = "EDGE_ONLY"
"""Of the API, too, and true unless the stage's file says otherwise."""
OF_PROVIDERS: Final = ("OPENAI_API_KEY", "APOLLO_API_KEY")
ASKS_PROVIDERS: Final = frozenset({API_HANDLER, "execute_run"})
EDGE: Final = "EdgeSecretArn"
DATABASE_PORT: Final = 5432
MOST_ENVIRONMENT: Final = 4096  # bytes of names and values, as Lambda counts
MIGRATE: Final = "migrate"
_WORD: Final = re.compile(r"[A-Za-z0-9]+")  # of the edge: it stands in a header, and beside another
_LAMBDAS_OWN: Final = re.compile(r"^(AWS_|LAMBDA_|_)|^TZ$")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the deploy tool reads from Secrets Manager. Nothing of it shows in a repr."""

    app: Mapping[str, str]
    system: Mapping[str, str]
    api: Mapping[str, str]  # settings
    providers: Mapping[str, str]  # settings; an empty one means that there is none
    edge_version: str = ""  # of EDGE_SECRET: the one that CloudFront is to send

    def __repr__(self) -> str:
        return "Secrets(…)"

    @classmethod
    def read(
        cls,
        cloud: Cloud,
        outputs: Mapping[str, str],
        *,
        sent_by_the_edge: str = "",
        edge_stays: bool = False,
    ) -> "Secrets":
        """Of Secrets Manager.

        Args:
            cloud: the stage.
            outputs: of the stacks.
            sent_by_the_edge: the version of its secret that CloudFront sends now: the API takes that as well.
            edge_stays: CloudFront goes on to send that, so the API takes it alone.

        Raises:
            DeployError: names every secret that is not filled.
        """
        reader = _Reader(cloud, outputs)
        edge, version = reader.edge()
        before = [] if sent_by_the_edge in {"", version} else reader.edge_of(sent_by_the_edge)
        accepted = before if edge_stays and before else list(dict.fromkeys([edge, *before]))
        made = cls(
            app=reader.fields("AppSecretArn", "username", "password"),
            system=reader.fields("SystemSecretArn", "username", "password"),
            api={
                "EDGE_SECRET": ",".join(accepted),
                "COGNITO_CLIENT_SECRET": reader.fields("ClientSecretArn", "value")["value"],
            },
            providers=reader.optional("PlatformKeysSecretArn", *OF_PROVIDERS),
            edge_version=version,
        )
        reader.fields("OwnerSecretArn", "username", "password")
        if reader.lacking:
            raise DeployError(
                f"These secrets are not filled: {', '.join(reader.lacking)}. Fill them in Secrets Manager."
            )
        return made


class _Reader:
    def __init__(self, cloud: Cloud, outputs: Mapping[str, str]) -> None:
        self._cloud = cloud
        self._client = cloud.client("secretsmanager")
        self._outputs = outputs
        self.lacking: list[str] = []

    def fields(self, output: str, *names: str) -> dict[str, str]:
        found = self.optional(output, *names)
        self.lacking += [f"{output} ({name})" for name, value in found.items() if not value]
        return found

    def optional(self, output: str, *names: str) -> dict[str, str]:
        said = json.loads(self._told(output)["SecretString"])
        return {name: str(said.get(name, "")) for name in names}

    def edge(self) -> tuple[str, str]:
        """What CloudFront is to send, and its version."""
        told = self._told(EDGE)
        value = str(json.loads(told["SecretString"]).get("value", ""))
        if not _WORD.fullmatch(value):
            self.lacking.append(f"{EDGE} (value{', of letters and digits' if value else ''})")
        return value, str(told["VersionId"])

    def edge_of(self, version: str) -> list[str]:
        """What CloudFront sends at a version; where Secrets Manager has dropped that, all that the API takes now."""
        try:
            told = self._told(EDGE, VersionId=version)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            there = function(self._cloud, self._cloud.functions_prefix) or {}
            served = (there.get("Environment") or {}).get("Variables", {}).get("EDGE_SECRET", "")
            return [word for word in served.split(",") if word]
        return [str(json.loads(told["SecretString"])["value"])]

    def _told(self, output: str, **more: str) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self._client.get_secret_value(SecretId=self._outputs[output], **more)
        return told


def needed_outputs() -> frozenset[str]:
    """Without these nothing can be rendered."""
    return frozenset(
        {
            *FROM_OUTPUTS.values(),
            *("SubnetIds", "FunctionSecurityGroupId", "ProxyEndpoint", "DatabaseName"),
            *secret_outputs(),
        }
    )


def secret_outputs() -> frozenset[str]:
    """What names the secrets that are read."""
    return frozenset(
        {
            *("AppSecretArn", "SystemSecretArn", "OwnerSecretArn", EDGE),
            *("ClientSecretArn", "PlatformKeysSecretArn"),
        }
    )


def render(
    base: Mapping[str, Any],
    given: StageFile,
    outputs: Mapping[str, str],
    secrets: Secrets,
    *,
    settings: Mapping[str, str],
    architecture: str,
) -> dict[str, Any]:
    """The config.json with which this stage is deployed.

    Args:
        base: the repository's own config.json: memory, timeouts, the API's stage.
        given: the stage's file: concurrency, tracing.
        outputs: of all stacks.
        secrets: go into the environment of the functions that need them.
        settings: what the stage's file says under `settings`.
        architecture: of the functions.

    Raises:
        DeployError: an output is missing, a setting is not the operator's to choose, or an environment is too big.
    """
    if missing := needed_outputs() - outputs.keys():
        raise DeployError(f"The stacks have no outputs {', '.join(sorted(missing))}.")
    edge_only = {EDGE_ONLY: str(settings.get(EDGE_ONLY, "true"))}
    others = {name: value for name, value in settings.items() if name != EDGE_ONLY}
    everybodys = _environment(given.stage, outputs, secrets, others)
    functions = {}
    for name, role in roles(outputs).items():
        own = {**secrets.api, **edge_only} if name == API_HANDLER else {}
        own |= {k: v for k, v in secrets.providers.items() if v and name in ASKS_PROVIDERS}
        _fits(name, {**everybodys, **own})
        functions[name] = {
            **base.get("lambda_functions", {}).get(name, {}),
            "iam_role_arn": role,
            "manage_iam_role": False,
            **({"reserved_concurrency": given.concurrency[name]} if name in given.concurrency else {}),
            **({"environment_variables": own} if own else {}),
        }
    stage = {
        "environment_variables": everybodys,
        "subnet_ids": outputs["SubnetIds"].split(","),
        "security_group_ids": [outputs["FunctionSecurityGroupId"]],
        "manage_iam_role": False,
        "autogen_policy": False,
        "xray": given.stacks["functions"].get("Tracing") == "true",
        "lambda_functions": functions,
    }
    return {
        **{key: value for key, value in base.items() if key != "lambda_functions"},
        "app_name": APP,
        "automatic_layer": False,
        "api_gateway_endpoint_type": "REGIONAL",
        "lambda_architecture": architecture,
        "stages": {given.stage: stage},
    }


def _environment(
    stage: str, outputs: Mapping[str, str], secrets: Secrets, settings: Mapping[str, str]
) -> dict[str, str]:
    made = {
        "STAGE": stage,
        "VAULT": "kms",
        "POWERTOOLS_SERVICE_NAME": f"{APP}-{stage}",
        "DATABASE_URL": _url(secrets.app, outputs),
        "DATABASE_SYSTEM_URL": _url(secrets.system, outputs),
        **{setting: outputs[output] for setting, output in FROM_OUTPUTS.items()},
    }
    refused = [
        name
        for name in settings
        if name in {*made, *OF_THE_API, *OF_PROVIDERS, "DATABASE_OWNER_URL"} or _LAMBDAS_OWN.match(name)
    ]
    if refused:
        raise DeployError(
            f"infra/parameters/{stage}.json: `settings` may not say {', '.join(refused)}; stacks, secrets or Lambda do."
        )
    return {**made, **{name: str(value) for name, value in settings.items()}}


def _url(secret: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    return URL.create(
        "postgresql+pg8000",
        secret["username"],
        secret["password"],
        outputs["ProxyEndpoint"],
        DATABASE_PORT,
        outputs["DatabaseName"],
    ).render_as_string(hide_password=False)


def roles(outputs: Mapping[str, str]) -> dict[str, str]:
    """A role for each function that chalice makes: `ExecuteRunRoleArn` is that of `execute_run`."""
    found = {}
    for output, arn in outputs.items():
        if match := re.fullmatch(r"(\w+)RoleArn", output):
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", match[1]).lower()
            if words(name) == match[1] and name != MIGRATE:
                found[name] = arn
    return found


def _fits(name: str, environment: Mapping[str, str]) -> None:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in environment.items())
    if size > MOST_ENVIRONMENT:
        raise DeployError(
            f"The environment of {name} has {size} bytes, Lambda takes {MOST_ENVIRONMENT}. "
            f"Say less under `settings` of the stage's file. The longest: {', '.join(_longest(environment))}."
        )


def _longest(environment: Mapping[str, str]) -> Iterable[str]:
    return sorted(environment, key=lambda key: len(environment[key]), reverse=True)[:3]
