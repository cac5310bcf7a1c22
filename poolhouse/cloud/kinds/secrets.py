"""Secret Manager: what containers get as variables whose values no deploy ever sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from poolhouse.cloud.kinds.grants import grants
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Fields, Json, Read, Resource
from poolhouse.pipeline.config.environment import Version
from poolhouse.pipeline.config.topology import Topology

API = "secretmanager.googleapis.com"
_ACCESSOR = "roles/secretmanager.secretAccessor"


def secret_id(name: str, options: Options) -> str:
    """The secret of a variable; previews share theirs."""
    return f"{options.identity}-{name}"


def references(wanted: Mapping[str, Version], options: Options) -> Mapping[str, str]:
    """By variable, `SECRET:VERSION`."""
    return {name: f"{secret_id(name, options)}:{version}" for name, version in wanted.items()}


def granted(names: Iterable[str], options: Options) -> tuple[str, ...]:
    """Ids of what must be in place before something that reads these secrets starts."""
    return tuple(f"grants/secret/{secret_id(name, options)}" for name in names)


def resources(topology: Topology, *, options: Options) -> Iterator[Resource]:
    """Each declared secret, which a person sets, and who may read it: only the parts that get it as a variable."""
    for name in topology.all_secrets:
        yield _secret(name, topology, options)
        yield access(name, topology, options=options)


def access(name: str, topology: Topology, *, options: Options) -> Resource:
    """Who may read one secret."""
    readers = (
        *((options.member("api"),) if name in topology.secrets else ()),
        *((options.member("worker"),) if any(name in topology.secrets_of(queue) for queue in topology.queues) else ()),
        *((options.member("dead-letters"),) if name in topology.secrets_of_hooks else ()),
    )
    return grants(
        f"secret/{secret_id(name, options)}",
        {_ACCESSOR: readers},
        options=options,
        arguments=("secrets",),
        name=secret_id(name, options),
        api="secretmanager",
    )


def versions(name: str, options: Options) -> Read:
    """How the versions of a secret are read: never their values."""
    return Read(arguments=("secrets", "versions", "list", secret_id(name, options)), api=API)


def enabled(raw: Json) -> tuple[int, ...]:
    """The numbers of the versions that can be read."""
    return tuple(
        int(str(item["name"]).rpartition("/")[2]) for item in raw or () if item.get("state", "").upper() == "ENABLED"
    )


def newest(name: str, topology: Topology) -> int:
    """The highest version of a secret that is asked for; 1 where any will do."""
    return max((version for version in _wanted(name, topology) if isinstance(version, int)), default=1)


def _secret(name: str, topology: Topology, options: Options) -> Resource:
    pinned = {version for version in _wanted(name, topology) if isinstance(version, int)}

    def observe(raw: Json) -> Fields | None:
        there = enabled(raw)
        return {"set": True} if there and pinned <= set(there) else None

    which = f" version {', '.join(map(str, sorted(pinned)))}" if pinned else ""
    stage = f" --stage {options.stage}" if options.stage else ""
    return Resource(
        kind="secret",
        name=secret_id(name, options),
        wanted={"set": True},
        read=versions(name, options),
        observe=observe,
        create=(),
        after=(f"apis/{options.project}",),
        absent=(
            f"{name} is under [secrets] of pipeline.toml, and has no{which or ' value'} in Secret Manager: "
            f"`./invoke secret set {name} --project {options.project}{stage}` asks for it."
        ),
    )


def _wanted(name: str, topology: Topology) -> Iterator[Version]:
    for declared in (topology.secrets, *(queue.secrets for queue in topology.queues)):
        if name in declared:
            yield declared[name]
