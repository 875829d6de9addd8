"""What a stage's file says, and where the tree is."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.deploy.cloud import Cloud, DeployError
from infra.rendering import HERE, StageFile


@dataclass(frozen=True, slots=True)
class Given:
    """infra/parameters/<stage>.json, or what it was when a release was made."""

    file: StageFile
    account: str | None  # the only one that this stage may be deployed to
    region: str | None
    alarms_elsewhere: bool  # somebody is told of alarms although no AlarmAddress is said
    said: Mapping[str, Any]  # all of it

    @classmethod
    def read(cls, stage: str) -> "Given":
        """Raises DeployError when there is no such file, or it is not one."""
        path = HERE / "parameters" / f"{stage}.json"
        try:
            return cls.of(stage, json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            known = ", ".join(sorted(each.stem for each in path.parent.glob("*.json")))
            raise DeployError(f"There is no stage {stage}: {path} is missing. Stages: {known}.") from error
        except (ValueError, KeyError) as error:
            raise DeployError(f"{path} cannot be read: {error!r}.") from error

    @classmethod
    def of(cls, stage: str, said: Mapping[str, Any]) -> "Given":
        return cls(
            StageFile.said(stage, said),
            said.get("account"),
            said.get("region"),
            said.get("alarms_elsewhere") is True,
            said,
        )

    @property
    def settings(self) -> Mapping[str, str]:
        return self.file.settings

    @property
    def stage(self) -> str:
        return self.file.stage

    def out_of_place(self, cloud: Cloud) -> Iterator[str]:
        """Another account or region than the stage belongs to, in a sentence each."""
        for what, wanted, there in (
            ("account", self.account, cloud.account),
            ("region", self.region, cloud.region),
        ):
            if wanted is not None and wanted != there:
                yield (
                    f"{self.stage} belongs to {what} {wanted}, these credentials to {there}. "
                    "Choose another AWS_PROFILE."
                )
