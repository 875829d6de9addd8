"""A stage to deploy to: moto as a whole AWS, an Aurora-like database without our roles, a package that is quickly made."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from infra.deploy.steps import Options
from infra.package import archive
from infra.package.archive import Sizes
from infra.package.build import Built, build, files_of, where_chalice_looks
from infra.package.target import Architecture
from local.postgres import Postgres, throwaway
from local.processes import Program
from tests.fakes.certificates import self_signed
from tests.infra.cloud_server import MASTER_PASSWORD, REGION

STAGE = "dev"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
READING = ("GET ", "HEAD ", "Get", "Describe", "List", "AdminGet")
"""How the names of calls begin that change nothing."""


def tiny_package(folder: Path) -> Built:
    """The tree without the libraries, which the emulated functions take from this environment."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, left_out = folder / "none.txt", folder / "none.toml"
    lock.write_text("")
    left_out.write_text("")
    return build(Architecture.X86_64, folder, lock=lock, left_out=left_out, tell=lambda _: None)


@dataclass
class Stage:
    """What a test has in hand."""

    folder: Path
    aws: str
    edge: str
    postgres: Postgres
    built: Built
    lines: list[str] = field(default_factory=list)

    def options(self, **more: Any) -> Options:
        chosen = Options(
            STAGE,
            out=self.folder / "build",
            page=self.folder / "dist",
            database_ca=self.folder / "self-127.0.0.1.pem",
            patience=timedelta(seconds=0),
            pause=lambda _: None,
            build=lambda _architecture, out: self.package(out),
            tell=self.lines.append,
        )
        return replace(chosen, **more)

    def package(self, out: Path) -> Built:
        """The package as the tree is now, in a staging folder of its own."""
        folder = out / "x86_64" / "stage"
        if folder != self.built.stage:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.built.stage, folder)
        return replace(self.built, stage=folder)

    def change(self, text: str, instead: str) -> None:
        """Change app.py in the package, as if somebody had edited the tree."""
        folder = self.folder / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.built.stage, folder)
        source = folder / "app.py"
        assert text in source.read_text()
        source.write_text(source.read_text().replace(text, instead))
        shutil.rmtree(folder / ".chalice" / "deployments")
        for old in (folder / "vendor" / "__pycache__").glob("app.*"):  # what was compiled from the old text
            old.unlink()
        packed = self.folder / "changed.zip"
        archive.write(packed, files_of(folder))
        place = where_chalice_looks(folder, Architecture.X86_64)
        place.parent.mkdir(parents=True)
        shutil.copy(packed, place)
        digest = hashlib.sha256(packed.read_bytes()).hexdigest()
        self.built = Built(Architecture.X86_64, folder, packed, digest, Sizes.of(packed), {})

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.aws,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def calls(self) -> list[str]:
        """What was asked since this was last asked."""
        made: list[str] = httpx.get(f"{self.aws}/harness/calls").json()
        return made

    def changes(self, calls: Sequence[str] | None = None) -> list[str]:
        """What was asked that changes something, less the lock, which comes and goes. Since this was last asked."""
        return [
            each
            for each in (self.calls() if calls is None else calls)
            if not each.partition(" ")[2].startswith(READING)
            and not each.endswith(("/lock.json", "/invocations"))
            and not each.startswith(("nobody", "edge", "resource"))
        ]

    def fail(self, pattern: str, *, after: int = 0) -> None:
        """A call that matches is refused, once: the next one, or the one after so many."""
        httpx.post(f"{self.aws}/harness/fail?{after}", content=pattern.encode()).raise_for_status()

    def put_to_sleep(self, function: str) -> None:
        """As Lambda does with a function that nobody has called for weeks."""
        httpx.post(f"{self.aws}/harness/sleep?{function}").raise_for_status()

    def mail(self) -> list[dict[str, str]]:
        """What Cognito has sent: to whom, with which first password."""
        sent: list[dict[str, str]] = httpx.get(f"{self.aws}/harness/mail").json()
        return sent

    def post(self, path: str, body: Any) -> httpx.Response:
        """As somebody outside, to the public address."""
        return httpx.post(f"{self.edge}{path}", json=body, timeout=60)

    @property
    def bucket(self) -> str:
        return f"bevyly-{STAGE}-deploy-123456789012-{REGION}"

    def state(self) -> Any:
        body = self.client("s3").get_object(Bucket=self.bucket, Key="state.json")["Body"].read()
        return json.loads(body)


@contextmanager
def a_stage(folder: Path, built: Built, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """An empty account, and this process's environment leading to it."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate = self_signed(folder, "127.0.0.1")
    with throwaway() as postgres:
        for role in ("bevyly_owner", "bevyly_app", "bevyly_system"):
            postgres.execute(f"DROP ROLE {role}")
        postgres.execute(f"CREATE ROLE bevyly_master LOGIN CREATEROLE CREATEDB PASSWORD '{MASTER_PASSWORD}'")
        postgres.execute("CREATE DATABASE bevyly OWNER bevyly_master")
        program = Program(
            "cloud",
            [
                *("-c", "from tests.infra.cloud_server import main; main()"),
                *("--database-port", str(postgres.port), "--certificate", str(certificate)),
            ],
            environ={**os.environ, **CREDENTIALS},  # noqa: TID251 - its own
            log_file=folder / "cloud.log",
        )
        try:
            told = program.wait()
            for name, value in {
                "AWS_ENDPOINT_URL": told["aws"],
                **CREDENTIALS,
                "SSL_CERT_FILE": str(certificate),
            }.items():
                monkeypatch.setenv(name, value)
            monkeypatch.delenv("AWS_PROFILE", raising=False)
            yield Stage(folder, told["aws"], told["edge"], postgres, built)
        finally:
            program.stop()
