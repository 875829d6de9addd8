"""`chalice deploy` and `chalice delete`, with a record that is true before and kept after."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy import existing, wanted
from infra.deploy.bucket import Bucket
from infra.deploy.cloud import DeployError
from infra.deploy.existing import Existing, Record, differences, look, recorded
from infra.deploy.wanted import Wanted

NOT_INSTALLED: Final = "Could not install"
"""What chalice prints when a wheel does not fit, before it goes on and ends with 0."""
_UPLOAD_SECONDS: Final = "300"
_UNSETTLED: Final = frozenset({"Creating", "Enabling", "Disabling", "Updating"})
_EVERY: Final = 2.0  # seconds between two looks at a mapping
_LONGEST: Final = 300.0  # seconds; AWS speaks of a minute

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Functions:
    """Of a staging folder whose config.json is rendered."""

    bucket: Bucket
    folder: Path
    package: str  # SHA-256 of the zip
    tell: Tell
    pause: Callable[[float], None] = time.sleep

    @property
    def stage(self) -> str:
        return self.bucket.cloud.stage

    @cached_property
    def wanted(self) -> Wanted:
        """What the folder says; read once, in a process of its own."""
        return wanted.read(self.folder, self.stage)

    @property
    def _key(self) -> str:
        return f"deployed/{self.stage}.json"

    @property
    def _file(self) -> Path:
        return self.folder / ".chalice" / "deployed" / f"{self.stage}.json"

    def bring_up(self) -> bool:
        """Run `chalice deploy` when something differs. Says whether it did.

        Raises:
            DeployError: in chalice's own words; what was done until then is found again next time.
        """
        to_be = self.wanted
        self._must_have_roles(to_be)
        there, record = self._restored(to_be)
        found = differences(to_be, there, record, package=self.package)
        if not found:
            self._keep(record)
            return False
        for each in found[:12]:
            self.tell(each)
        if len(found) > 12:  # noqa: PLR2004 - a screen is enough
            self.tell(f"and {len(found) - 12} more")
        self._let_messages_fail_alone(to_be, there)  # before there is code that reports them
        try:
            said = self._chalice("deploy", "--connection-timeout", _UPLOAD_SECONDS, "--no-autogen-policy")
        except DeployError:
            with suppress(BotoCoreError, ClientError, DeployError):  # what chalice says is what matters
                self._let_messages_fail_alone(to_be, look(self.bucket.cloud, to_be, record))
            raise
        there, record = self._restored(to_be)
        self._let_messages_fail_alone(to_be, there)
        if NOT_INSTALLED in said:
            raise DeployError("chalice left dependencies out (see above): make package says which, and why.")
        self._mend(to_be, there)
        self._keep(None if record is None else {**record, "package": self.package})
        return True

    def problems(self) -> list[str]:
        """What is not as it should be, after a deploy."""
        to_be = self.wanted
        record = self.bucket.get_json(self._key)
        found = differences(to_be, look(self.bucket.cloud, to_be, record), record, package=self.package)
        if record is None:
            found.append(f"s3://{self.bucket.name}/{self._key} is not there")
        return found

    def api(self) -> str:
        """The REST API's id. Raises DeployError before there is one."""
        found = existing.api_in(self.bucket.get_json(self._key))
        if found is None:
            raise DeployError("chalice has recorded no REST API.")
        return found

    def take_down(self) -> bool:
        """`chalice delete`. Says whether there was something."""
        to_be = self.wanted
        _, record = self._restored(to_be)
        if record is None:
            return False
        self._chalice("delete")
        self.bucket.delete(self._key)
        return True

    def _must_have_roles(self, to_be: Wanted) -> None:
        without = [each.resource for each in to_be.functions if not each.role]
        if without:
            raise DeployError(
                f"The stack `functions` has no role for {', '.join(without)}: infra/templates/functions.yaml."
            )

    def _restored(self, to_be: Wanted) -> tuple[Existing, Record | None]:
        """What there is, and chalice's record of it, which lies where chalice looks."""
        kept: Record | None = self.bucket.get_json(self._key)
        there = look(self.bucket.cloud, to_be, kept)
        record = recorded(to_be, there, kept)
        if kept is None and record is not None:
            self.tell(f"no record of what exists: made from {len(record['resources'])} resources in AWS")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if record is None:
            self._file.unlink(missing_ok=True)
        else:
            self._file.write_text(json.dumps(record))
        return there, record

    def _keep(self, record: Record | None) -> None:
        self.bucket.put_json(self._key, record)

    def _chalice(self, verb: str, *options: str) -> str:
        """Run it in the folder, and show what it says. Raises DeployError when it fails."""
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "chalice"), verb, "--stage", self.stage, *options],
            cwd=self.folder,
            env=wanted.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        said = []
        with process:
            for line in process.stdout:
                said.append(line)
                self.tell(f"chalice: {line.rstrip()}")
        if process.returncode != 0:
            raise DeployError(
                f"chalice {verb} failed: {''.join(said).strip()[-1500:]}\nWhat it did until then stays; "
                "once that is mended, start the same command again."
            )
        return "".join(said)

    def _let_messages_fail_alone(self, to_be: Wanted, there: Existing) -> None:
        """Of the mappings that exist. Chalice cannot say it and leaves it as it is; code that raises works with it too.

        A new mapping is without it until chalice is at its end: until then what is reported is deleted.
        """
        for mapped in to_be.mappings:
            found = there.mappings.get((mapped.function, mapped.queue))
            if found is None or set(mapped.response_types).issubset(found.get("FunctionResponseTypes") or ()):
                continue
            self.tell(f"{mapped.function}: of {mapped.queue} only messages that failed come again")
            self._change(found, FunctionResponseTypes=list(mapped.response_types))

    def _change(self, mapping: Mapping[str, Any], **change: Any) -> None:
        """And wait for it. Lambda refuses to change a mapping that is being made or changed."""
        client = self.bucket.cloud.client("lambda")
        self._until_settled(mapping["UUID"])
        client.update_event_source_mapping(UUID=mapping["UUID"], **change)
        self._until_settled(mapping["UUID"])

    def _until_settled(self, uuid: str) -> None:
        waited = 0.0
        while True:
            state = self.bucket.cloud.client("lambda").get_event_source_mapping(UUID=uuid)["State"]
            if state not in _UNSETTLED:
                return
            if waited >= _LONGEST:
                raise DeployError(
                    f"Event source mapping {uuid} is still {state} after {waited / 60:.0f} minutes. Lambda goes on; "
                    f"look there (`aws lambda get-event-source-mapping --uuid {uuid}`), then start this again."
                )
            self.pause(_EVERY)
            waited += _EVERY

    def _mend(self, to_be: Wanted, there: Existing) -> None:
        """What chalice says only when it makes something, or never takes back."""
        client = self.bucket.cloud.client("lambda")
        for mapped in to_be.mappings:
            found = there.mappings[mapped.function, mapped.queue]
            change: dict[str, Any] = {}
            if found.get("State") in {"Disabled", "Disabling"}:
                change["Enabled"] = True
            if mapped.maximum_concurrency is None and found.get("ScalingConfig"):
                change["ScalingConfig"] = {}
            if change:
                self.tell(f"{mapped.function}: its mapping of {mapped.queue} is set right")
                self._change(found, **change)
        for each in to_be.functions:
            found = there.functions[each.name]
            if found["Handler"] != each.handler:
                self.tell(
                    f"{each.name}: its handler is now {each.handler}; chalice left it at {found['Handler']}"
                )
                client.update_function_configuration(FunctionName=each.name, Handler=each.handler)
                client.get_waiter("function_updated_v2").wait(FunctionName=each.name)
            if not each.traced and (found.get("TracingConfig") or {}).get("Mode") == "Active":
                client.update_function_configuration(
                    FunctionName=each.name, TracingConfig={"Mode": "PassThrough"}
                )
                client.get_waiter("function_updated_v2").wait(FunctionName=each.name)
