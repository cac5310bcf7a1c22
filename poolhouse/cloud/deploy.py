"""`invoke deploy --project`: read, plan, show, ask, apply."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from poolhouse.cloud import cost, cost_ceiling, extras, image, releases, sbom
from poolhouse.cloud.canary import planning
from poolhouse.cloud.destroy import remove
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud import release_tracks
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import registry
from poolhouse.cloud.kinds.shares import Canary
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan import desired
from poolhouse.cloud.plan.actual import Project, read_project, read_resources
from poolhouse.cloud.plan.apply import Values, apply
from poolhouse.cloud.plan.leftovers import sweeps
from poolhouse.cloud.plan.planner import Plan, plan
from poolhouse.cloud.plan.progress import Lines
from poolhouse.cloud.plan.rendering import files_text, plan_text, summary
from poolhouse.cloud.resource import Resource
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError

#: Shown as the image while it is not built: it differs from every digest, so that what runs it is updated.
TO_BE_BUILT = "(built by this deploy)"
_CANARY = "The first step of a canary. Jobs and the console are not shared: those that are there change with its end."
_NO_CANARY = "No canary: no service or pool that is there changes, so there are no two releases to compare."
#: Asks a question; True goes on.
Ask = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A plan, and what was learned on the way to it."""

    plan: Plan
    project: Project
    #: Tag of the image.
    tag: str
    #: Its path and digest; None: to be built.
    image: str | None
    #: Why the image gets no bill of materials; empty: it has one, or is of an earlier release.
    no_bill: str
    #: The shares of new revisions, by the ids of their resources.
    canaries: Mapping[str, Canary]
    #: Wall time of reading and planning, in seconds.
    seconds: float


def prepare(
    gcloud: Gcloud,
    topology: Topology,
    *,
    options: Options,
    tracks: ReleaseTracks,
    root: Path,
    release: str = "",
    canary: int = 0,
) -> Prepared:
    """Read what is there and plan.

    Args:
        gcloud: with what.
        topology: pipeline.toml.
        options: the choices of the deploy.
        tracks: the release tracks of the installed gcloud.
        root: folder with the Dockerfile.
        release: tag of an image to run instead of one of the present sources.
        canary: share that new revisions get beside older ones, in percent; 0: all.

    Raises:
        CloudError: something could not be read, or can't become what is wanted.
    """
    started = time.monotonic()
    tag = release or image.tag(root)
    if not release:
        image.check_handlers(root, handler_modules(topology))
        extras.check(root, topology)
    bill, no_bill = ("", "") if release else _bill(root, topology)
    project = read_project(gcloud, options.project)

    def wanted(path: str, canaries: Mapping[str, Canary] | None = None) -> tuple[Resource, ...]:
        return desired.resources(
            topology,
            options=options,
            tracks=tracks,
            project_number=project.number,
            tag=tag,
            image=path,
            bill=bill,
            canaries=canaries,
        )

    sweeping = tuple(sweep for sweep in sweeps(options, tracks) if sweep.kind not in _NEVER_LEFT_OVER)
    snapshot = read_resources(gcloud, wanted(TO_BE_BUILT), base=project, sweeps=sweeping)
    # The image's digest is known only from what was read: then the fields that name it are compared with it.
    listing = snapshot.get(registry.image(tag, options=options).read.arguments)
    digest = registry.digest(listing, tag)
    built = f"{options.repository}@{digest}" if digest else None
    if release and built and registry.BILLS_API in project.enabled:
        extras.check_release(lambda: releases.packages(gcloud, built, options=options), topology, tag=tag)
    result = plan(wanted(built or TO_BE_BUILT), snapshot, sweeps=sweeping)
    canaries = planning.canaries(result, snapshot, percent=canary, options=options) if canary else {}
    if canaries:
        divided = plan(wanted(built or TO_BE_BUILT, canaries), snapshot, sweeps=sweeping)
        result = planning.first_step(divided, options=options)
    seconds = time.monotonic() - started
    return Prepared(
        plan=result, project=project, tag=tag, image=built, no_bill=no_bill, canaries=canaries, seconds=seconds
    )


def _bill(root: Path, topology: Topology) -> tuple[str, str]:
    """The bill of materials of the image, or why there is none: that is no reason to run without the image."""
    try:
        return sbom.text(root, name=topology.name), ""
    except ConfigError as error:
        return "", str(error)


def handler_modules(topology: Topology) -> frozenset[str]:
    """The modules of task handlers, of the API and of every queue's workers."""
    return frozenset(name for env in topology.environments for name in topology.handlers_under(env))


#: Every deploy has a repository and a bucket; accounts stay for `destroy`, since the deployer of CI may delete none.
_NEVER_LEFT_OVER = frozenset({"repository", "bucket", "account"})


def deploy(
    gcloud: Gcloud,
    topology: Topology,
    *,
    options: Options,
    root: Path,
    tracks: ReleaseTracks | None = None,
    dry_run: bool = False,
    prune: bool = False,
    release: str = "",
    canary: int = 0,
    ask: Ask,
    say: Callable[[str], None] = print,
) -> Prepared:
    """Make Google Cloud look like pipeline.toml.

    Args:
        gcloud: with what.
        topology: pipeline.toml.
        options: the choices of the deploy.
        root: folder with the Dockerfile.
        tracks: the release tracks; looked up where not given.
        dry_run: show the plan with its commands and files, change nothing.
        prune: also remove what earlier deploys made and pipeline.toml does not want any more.
        release: tag of an image that is there, to run instead of one of the present sources.
        canary: share that new revisions get beside older ones, in percent; 0: all. With a share nothing is removed, and
            jobs stay as they are.
        ask: asked before anything is changed.
        say: where lines for the person go.

    Raises:
        CloudError: nothing was changed, or what was done stays and the next deploy goes on from there.
    """
    if not release:  # a rollback must not fail for its price
        cost_ceiling.check(topology, cost.load_prices()[1])
    tracks = tracks or release_tracks.installed(gcloud)
    prepared = prepare(gcloud, topology, options=options, tracks=tracks, root=root, release=release, canary=canary)
    work = prepared.plan
    say(plan_text(work, project=options.project))
    for name in () if release else image.left_out(root):
        say(f"Not in the image: {name} (called like a secret).")
    if prepared.no_bill:
        say(f"No bill of materials is attached to the image: {prepared.no_bill}")
    say(f"Read in {prepared.seconds:.1f} s with {len(gcloud.calls)} gcloud calls; {tracks.summary()}.")
    if canary:
        say(_CANARY if prepared.canaries else _NO_CANARY)
    if dry_run:
        say(files_text(work))
        return prepared
    leftovers = work.leftovers if prune and not prepared.canaries else ()
    steps = "" if prepared.canaries else next_steps(options, prepared.project.number)
    if not work.work and not leftovers:
        say(steps)
        return prepared
    if not ask(f"Deploy to {options.project} ({options.region})? {summary(work)}"):
        raise CloudError("not deployed: nothing was changed.")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="poolhouse-image-") as folder:
        values = Values(image=prepared.image or "", sources=folder)
        if prepared.image is None:
            image.stage(root, Path(folder))
        left_out = apply(work, gcloud, values=values, repository=options.repository, progress=Lines(len(work.work)))
    remove(leftovers, gcloud, say=say)
    say(f"Deployed in {time.monotonic() - started:.0f} s.")
    for problem in left_out:
        say(f"\n{problem}")
    say(steps)
    return prepared


def next_steps(options: Options, project_number: str) -> str:
    """Where it is, and what to do with it."""
    url = options.api_url(project_number)
    own_console = f"\nConsole    {options.console_url(project_number)}" if options.console else ""
    google = f"https://console.cloud.google.com/monitoring/dashboards/builder/{options.name}-pipeline"
    budget = "https://console.cloud.google.com/billing/budgets"
    key, token = "", ' -H "Authorization: Bearer $(gcloud auth print-identity-token)"'
    if options.access is not None and options.access.anonymous != "operate":
        key = " (a key that may operate goes into POOLHOUSE_API_KEY)"
        token = "" if options.access.anonymous == "submit" else ' -H "X-API-Key: $POOLHOUSE_API_KEY"'
    elif options.public:
        token = ""
    body = (
        """'{"task_type": "data_transformation", "payload": {"dataset_size": 1000, "transformation": "normalize"}}'"""
    )
    return f"""
API        {url}  ({url}/docs){own_console}
Dashboard  {google}?project={options.project}
Bucket     gs://{options.bucket}
Budget     {budget}  (set one: `invoke cost` estimates a month; nothing here stops by itself)

Next{key}:
  invoke status --project {options.project}     queues, workers, image
  invoke logs   --project {options.project}     what API and workers say
  invoke e2e    --project {options.project}     the end-to-end checks, on the deployed system
  curl{token} -H 'Content-Type: application/json' {url}/tasks -d {body}"""
