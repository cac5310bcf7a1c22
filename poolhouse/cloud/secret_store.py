"""`invoke secret`: a person sets and lists what pipeline.toml declares as secrets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import project, secrets
from poolhouse.cloud.options import LABEL, Options
from poolhouse.cloud.plan.actual import read_project, read_resources
from poolhouse.cloud.plan.apply import Values, apply
from poolhouse.cloud.plan.planner import plan
from poolhouse.cloud.plan.progress import Lines
from poolhouse.cloud.resource import Read, command, flag, pairs
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError

#: Most bytes of a value (Secret Manager, Quotas).
MOST_BYTES = 65_536


def set_value(
    gcloud: Gcloud,
    topology: Topology,
    name: str,
    *,
    options: Options,
    ask: Callable[[], str],
    say: Callable[[str], None],
) -> None:
    """Make a new version of a secret, the secret too where there is none, and let in who reads it.

    Args:
        gcloud: with what.
        topology: pipeline.toml.
        name: the variable.
        options: where the pipeline goes.
        ask: gives the value; asked once all else is known to be right.
        say: where lines for the person go.

    Raises:
        ConfigError: the variable is not declared, or the value is none that Secret Manager takes.
        CloudError: gcloud failed.
    """
    if name not in topology.all_secrets:
        known = ", ".join(topology.all_secrets) or "none"
        raise ConfigError(f"{name} is not under [secrets] of pipeline.toml, nor of a queue there (declared: {known}).")
    base = read_project(gcloud, options.project)
    if secrets.API not in base.enabled:
        gcloud.run(command("services", "enable", secrets.API))
    value = ask()
    if not value or len(value.encode()) > MOST_BYTES:
        raise ConfigError(f"{name}: a value has 1 to {MOST_BYTES} bytes; nothing was set.")
    secret = secrets.secret_id(name, options)
    if gcloud.read(Read(arguments=("secrets", "describe", secret), api=secrets.API)) is None:
        _create(gcloud, secret, options=options)
    gcloud.run(command("secrets", "versions", "add", secret, "--data-file=-"), secret=value)
    say(f"Set: a new version of {secret} in {options.project}.")
    _let_in(gcloud, topology, name, options=options, say=say)


def _create(gcloud: Gcloud, secret: str, *, options: Options) -> None:
    """Make a secret without a value."""
    create = ("secrets", "create", secret, flag("labels", pairs({**options.labels, LABEL: options.identity})))
    try:
        gcloud.run(command(*create, "--replication-policy=automatic"))
    except GcloudFailed as error:
        # Automatic is everywhere, which an organisation that allows some places only refuses (Secret Manager, Choose a
        # replication policy).
        if "gcp.resourceLocations" not in error.output:
            raise
        gcloud.run(command(*create, "--replication-policy=user-managed", flag("locations", options.region)))


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A secret of pipeline.toml."""

    #: The variable that has its value.
    name: str
    #: Its newest version; None: it is not set.
    version: int | None
    #: Its id in Secret Manager.
    secret: str


def listing(gcloud: Gcloud, topology: Topology, *, options: Options) -> tuple[Declared, ...]:
    """The declared secrets, with the newest version of each. Raises `CloudError`."""
    base = read_project(gcloud, options.project)
    reads = {name: secrets.versions(name, options) for name in topology.all_secrets}
    found = gcloud.read_all(tuple(reads.values())) if secrets.API in base.enabled else {}
    return tuple(
        Declared(
            name=name,
            version=max(secrets.enabled(found.get(read.arguments)), default=None),
            secret=secrets.secret_id(name, options),
        )
        for name, read in reads.items()
    )


def text(found: Sequence[Declared]) -> str:
    """The declared secrets for a person."""
    lines = [f"{'secret':40}{'version':>8}  in"]
    lines += [f"{each.name:40}{each.version or 'not set':>8}  {each.secret}" for each in found]
    return "\n".join(lines)


def _let_in(gcloud: Gcloud, topology: Topology, name: str, *, options: Options, say: Callable[[str], None]) -> None:
    base = read_project(gcloud, options.project)
    there = (gcloud.read(project.ACCOUNTS) or []) if project.ACCOUNTS.api in base.enabled else []
    emails = {str(item["email"]) for item in there}
    made = {options.account(part) for part in ("api", "worker") if part not in options.own_accounts}
    if not made <= emails:
        say("Its readers are not there yet: the first deploy makes them and lets them in.")
        return
    access = secrets.access(name, topology, options=options)
    work = plan((access,), read_resources(gcloud, (access,), base=base))
    try:
        apply(work, gcloud, values=Values(), repository=options.repository, progress=Lines(len(work.work)))
    except CloudError as error:
        raise CloudError(f"{error}\nThe value is set; who reads it is not let in yet: the next deploy does.") from None
