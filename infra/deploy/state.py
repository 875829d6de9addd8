"""state.json in the stage's bucket: the last releases, which of them serves, and how far the one under way has come."""

from dataclasses import asdict, dataclass, field, replace
from typing import Final

from infra.deploy.bucket import Bucket, now

KEY: Final = "state.json"
KEPT: Final = 5
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Release:
    """What it takes to make these functions again is under `releases/<id>/`."""

    id: str  # its number, and the beginning of its fingerprint
    fingerprint: str  # of all that it is made from
    package: str  # SHA-256 of the zip
    architecture: str
    commit: str
    made: str

    @property
    def number(self) -> int:
        return int(self.id.split("-")[0])

    def key(self, name: str) -> str:
        return f"releases/{self.id}/{name}"


@dataclass(frozen=True, slots=True)
class State:
    """What is known of the stage."""

    releases: tuple[Release, ...] = ()  # that were finished, the newest first
    current: str | None = None  # the id of the one that serves
    under_way: Release | None = None
    done: dict[str, str] = field(default_factory=dict)  # its steps, and when each was done

    @classmethod
    def read(cls, bucket: Bucket) -> "State":
        said = bucket.get_json(KEY)
        if said is None:
            return cls()
        under_way = said["underWay"]
        return cls(
            tuple(Release(**each) for each in said["releases"]),
            said["current"],
            None if under_way is None else Release(**under_way),
            said["done"],
        )

    def write(self, bucket: Bucket) -> None:
        bucket.put_json(
            KEY,
            {
                "version": VERSION,
                "releases": [asdict(each) for each in self.releases],
                "current": self.current,
                "underWay": None if self.under_way is None else asdict(self.under_way),
                "done": self.done,
            },
        )

    def serving(self) -> Release | None:
        return next((each for each in self.releases if each.id == self.current), None)

    def before_the_current(self) -> Release | None:
        """What a rollback goes back to."""
        serving = self.serving()
        if serving is None:
            return None
        return next((each for each in self.releases if each.number < serving.number), None)

    def to_go_back_to(self) -> Release | None:
        """Of a deploy that is not through: what serves; else the one before that."""
        return self.serving() if self.under_way is not None else self.before_the_current()

    def release_of(self, fingerprint: str, *, package: str, architecture: str, commit: str) -> Release:
        """The release with this fingerprint that is under way or serves; else a new one."""
        for known in (self.under_way, self.serving()):
            if known is not None and known.fingerprint == fingerprint:
                return known
        numbers = [each.number for each in (*self.releases, *filter(None, [self.under_way]))]
        number = max(numbers, default=0) + 1
        return Release(
            f"{number:04}-{fingerprint[:10]}", fingerprint, package, architecture, commit, made=now()
        )

    def began(self, release: Release) -> "State":
        """Unless it goes on, or serves already."""
        if release in (self.under_way, self.serving()):
            return self
        return replace(self, under_way=release, done={})

    def with_done(self, step: str) -> "State":
        return self if self.under_way is None else replace(self, done={**self.done, step: now()})

    def finished(self, release: Release) -> "State":
        others = [each for each in self.releases if each.id != release.id]
        newest_first = sorted([release, *others], key=lambda each: each.number, reverse=True)
        return State(tuple(newest_first[:KEPT]), release.id)


def forget_old_releases(bucket: Bucket, state: State) -> list[str]:
    """Delete what belongs to no release that is kept. Returns the ids."""
    kept = {each.id for each in (*state.releases, *filter(None, [state.under_way]))}
    old: dict[str, list[str]] = {}
    for key in bucket.keys("releases/"):
        release = key.split("/")[1]
        if release not in kept:
            old.setdefault(release, []).append(key)
    for keys in old.values():
        bucket.delete(*keys)
    return sorted(old)
