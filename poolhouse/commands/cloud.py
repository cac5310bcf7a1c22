"""What the cloud commands of tasks.py do. Each returns its exit code: 0 done, 1 failed."""

from __future__ import annotations

import contextlib
import getpass
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from poolhouse.client import units
from poolhouse.cloud import (
    cost,
    cost_ceiling,
    deploy,
    e2e,
    github,
    identity,
    image,
    operate,
    releases,
    secret_store,
    stage_list,
    workflows,
)
from poolhouse.cloud import destroy as removal
from poolhouse.cloud.canary import choice, parts, rollout
from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.gcloud import release_tracks
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.log_filter import log_filter
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan import planner
from poolhouse.cloud.plan.actual import read_project, read_resources
from poolhouse.cloud.plan.apply import Values, apply
from poolhouse.cloud.plan.progress import Lines
from poolhouse.cloud.plan.rendering import plan_text
from poolhouse.cloud.remote import identity_token
from poolhouse.cloud.resource import command
from poolhouse.commands.project import declaration
from poolhouse.commands.terminal import Terminal
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.visible import visible
from poolhouse.project import ROOT

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: What a destroy leaves: builds that were, and what is known of their images.
_HISTORY = ("cloudbuild/", "containeranalysis/")


@dataclass(frozen=True, kw_only=True)
class Access:
    """A deployed API, and how to call it."""

    project: str
    url: str
    #: Gives an identity token.
    token: Callable[[], str]
    #: Finds its lines in Cloud Logging.
    log_filter: str
    #: Whether its spans are in Cloud Trace.
    cloud_trace: bool


def run_deploy(
    *,
    project: str = "",
    stage: str = "",
    dry_run: bool = False,
    yes: bool = False,
    prune: bool = False,
    canary: str = "",
    watch: str = "",
    env: Mapping[str, str] | None = None,
) -> int:
    """`invoke deploy`; `canary` and `watch` are options as typed, empty: as declared."""
    declared, options = _declared(project, stage)
    declaration.check(declared)
    chosen = choice.choose(declared, canary=canary, watch=watch)
    gcloud, ask = Gcloud(options.project, env=env), partial(Terminal().confirm, yes=yes)
    if not chosen.percent:
        deploy.deploy(gcloud, declared, options=options, root=ROOT, dry_run=dry_run, prune=prune, ask=ask)
        return 0
    rollout.roll_out(
        gcloud,
        declared,
        options=options,
        root=ROOT,
        percent=chosen.percent,
        watch_s=chosen.watch_s,
        dry_run=dry_run,
        prune=prune,
        ask=ask,
    )
    return 0


def list_releases(*, project: str = "", stage: str = "", as_json: bool = False) -> int:
    """`invoke releases`."""
    _, options = _declared(project, stage)
    found = releases.read(Gcloud(options.project), options=options)
    return _lines(found) if as_json else _text(releases.text(found))


def rollback(*, to: str = "", project: str = "", stage: str = "", dry_run: bool = False, yes: bool = False) -> int:
    """`invoke rollback`: the end of a canary; else a deploy of an earlier image, with the present pipeline.toml."""
    declared, options = _declared(project, stage)
    gcloud, ask = Gcloud(options.project), partial(Terminal().confirm, yes=yes)
    tracks = release_tracks.installed(gcloud)
    divided = () if to else parts.read(gcloud, options=options, tracks=tracks)
    if divided:
        rollout.take_back(gcloud, divided, topology=declared, options=options, tracks=tracks, dry_run=dry_run, ask=ask)
        print("\nThe canary ends. The next `./invoke deploy` goes forward again: mend the sources first.")
        return 0
    chosen = releases.choose(releases.read(gcloud, options=options), to or "1")
    print(f"To {chosen.tag}, pushed {chosen.pushed}. Queues, sizes and variables stay as pipeline.toml has them now.\n")
    deploy.deploy(
        gcloud, declared, options=options, root=ROOT, tracks=tracks, dry_run=dry_run, release=chosen.tag, ask=ask
    )
    print("\nThe next `./invoke deploy` goes forward again: revert the sources before it.")
    return 0


def run_destroy(*, project: str = "", stage: str = "", delete_bucket: bool = False, yes: bool = False) -> int:
    """`invoke destroy`."""
    declared, options = _declared(project, stage)
    if yes and not declared.stage.preview:
        raise ConfigError('--yes is for previews, stages of a pattern such as [stages."pr-*"]: what else is asked for.')
    ask = (lambda question: options.project) if yes else Terminal().ask
    removal.destroy(
        Gcloud(options.project),
        declared,
        options=options,
        keep_bucket=not delete_bucket,
        needed=_accounts_of_others(options),
        ask=ask,
    )
    return 0


def stages(*, project: str = "", as_json: bool = False, env: Mapping[str, str] | None = None) -> int:
    """`invoke stages`."""
    _, options = _declared(project, "")
    gcloud = Gcloud(options.project, env=env)
    found = stage_list.read(gcloud, topology.load_all(ROOT / "pipeline.toml"), project=options.project)
    return _lines(found) if as_json else _text(stage_list.text(found))


def rehearse(
    *, workers: str = "pool", autoscale: bool = False, fault: str = "", constraint: str = "", requests: bool = False
) -> int:
    """`invoke rehearse`: deploy, deploy again, destroy, all against the simulated cloud; says what it took.

    Args:
        workers: `pool` or `job`.
        autoscale: with the autoscaler.
        fault: a name of `poolhouse.cloud.rehearsal.faults.NAMED`.
        constraint: a name of `poolhouse.cloud.rehearsal.organisation.CONSTRAINTS`, a policy to deploy under.
        requests: also list every request of the first deploy.
    """
    # The simulated cloud needs grpc and cryptography, which no other command does.
    from poolhouse.cloud.rehearsal import beforehand, faults, organisation, simulation  # noqa: PLC0415
    from poolhouse.cloud.rehearsal.services.pubsub import dead_letter_gaps  # noqa: PLC0415

    if fault and fault not in faults.NAMED:
        raise ConfigError(f"--fault {fault!r}: choose one of {', '.join(faults.NAMED)}")
    constraint = constraint.removeprefix("constraints/")
    if constraint and constraint not in organisation.CONSTRAINTS:
        raise ConfigError(f"--constraint {constraint!r}: choose one of {', '.join(organisation.CONSTRAINTS)}")
    declared = topology.load(ROOT / "pipeline.toml")
    declaration.check(declared)
    # Of the project itself: in the copy there is only what the image takes.
    image.check_handlers(ROOT, deploy.handler_modules(declared))
    choices = {"workers": _workers(workers), "autoscale": autoscale}
    options = replace(Options.declared(declared, project=simulation.PROJECT), **choices)  # type: ignore[arg-type]
    wrong = faults.Faults(
        faults=faults.named(fault),
        operation_polls=1,
        account_uses=1,
        agent_uses=1,
        grant_uses=1,
        constraints=(constraint,) if constraint else (),
        newer_fields=True,
    )
    # Of a copy: both deploys are of the same sources, whatever is edited meanwhile.
    with simulation.simulate(faults=wrong) as running, tempfile.TemporaryDirectory(prefix="poolhouse-") as copy:
        image.stage(ROOT, Path(copy))
        there = beforehand.make(running.control_plane.state, declared, options=options)
        for name in ("first deploy", "second deploy"):
            gcloud = Gcloud(simulation.PROJECT, env=running.env)
            seen, started = len(running.control_plane.log), time.monotonic()
            prepared = deploy.deploy(gcloud, declared, options=options, root=Path(copy), ask=lambda question: True)
            made = running.control_plane.log[seen:]
            print(
                f"== {name}: {time.monotonic() - started:.1f} s ({prepared.seconds:.1f} s of it to plan), "
                f"{len(gcloud.calls)} gcloud commands, {len(made)} requests, "
                f"{sum(entry.status >= 400 for entry in made)} of them answered with an error\n"
            )
            if requests and name == "first deploy":
                for (method, path), times in Counter((entry.method, entry.host + entry.path) for entry in made).items():
                    print(f"{times:4} {method:6} {path}")
        if prepared.plan.work:
            raise CloudError(f"the second deploy still had work: {[item.resource.id for item in prepared.plan.work]}")
        if gaps := dead_letter_gaps(running.control_plane.state):
            raise CloudError("dead letters would not arrive:\n  " + "\n  ".join(gaps))
        gcloud = Gcloud(simulation.PROJECT, env=running.env)
        started = time.monotonic()
        removal.destroy(gcloud, declared, options=options, keep_bucket=False, ask=lambda question: simulation.PROJECT)
        names = running.control_plane.state.items
        left = [name for name in names if not name.startswith(_HISTORY) and name not in there]
        seconds, calls = time.monotonic() - started, len(gcloud.calls)
        print(f"== destroy: {seconds:.1f} s, {calls} gcloud commands; left: {left or 'nothing'}")
        if left or running.control_plane.bugs:
            raise CloudError("\n".join(["the rehearsal did not end clean", *left, *running.control_plane.bugs]))
    return 0


def github_oidc(
    *,
    repo: str,
    project: str = "",
    stage: str = "",
    repo_id: int = 0,
    owner_id: int = 0,
    yes: bool = False,
    env: Mapping[str, str] | None = None,
) -> int:
    """`invoke github-oidc`: the identities of a stage, then the workflow files, then what to enter in the repository.

    Args:
        repo: `ORG/REPO`.
        project: id of the Google Cloud project.
        stage: which stage may be deployed so.
        repo_id: number of the repository; looked up where it is 0.
        owner_id: number of its owner; looked up where it is 0.
        yes: do not ask.
        env: further environment variables of gcloud.
    """
    declared, options = _declared(project, stage)
    environment, ref = workflows.environment(declared.stage), workflows.ref(declared.stage)
    if not (repo_id and owner_id):
        repo_id, owner_id = github.numbers(repo)
    source = identity.Source(
        repository=repo, repository_id=repo_id, owner_id=owner_id, environment=environment, ref=ref
    )
    gcloud = Gcloud(options.project, env=env)
    base = read_project(gcloud, options.project)
    wanted = identity.resources(source, options=options, project_number=base.number)
    plan = planner.plan(wanted, read_resources(gcloud, wanted, base=base))
    print(plan_text(plan, project=options.project))
    if plan.work:
        question = f"Let {repo} deploy to {options.project} from {ref} in the environment {environment}?"
        if not Terminal().confirm(question, yes=yes):
            raise CloudError("nothing was changed.")
        apply(plan, gcloud, values=Values(), repository=options.repository, progress=Lines(len(plan.work)))
    folder = ROOT / ".github" / "workflows"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in workflows.files(topology.load_all(ROOT / "pipeline.toml")).items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"Written: .github/workflows/{name}")
    print(f"\nTell the repository's environment {environment} where to deploy to:")
    for name, value in identity.variables(options=options, project_number=base.number).items():
        print(f"  gh variable set {name} --repo {repo} --env {environment} --body '{value}'")
    return 0


def set_secret(*, name: str, project: str = "", stage: str = "", env: Mapping[str, str] | None = None) -> int:
    """`invoke secret set`: the value comes from standard input, or is asked for where that is a terminal."""
    declared, options = _declared(project, stage)

    def ask() -> str:
        if sys.stdin.isatty():
            return getpass.getpass(f"Value of {name} in {options.project} (not shown): ")
        return sys.stdin.read().removesuffix("\n")

    secret_store.set_value(Gcloud(options.project, env=env), declared, name, options=options, ask=ask, say=print)
    return 0


def list_secrets(
    *, project: str = "", stage: str = "", as_json: bool = False, env: Mapping[str, str] | None = None
) -> int:
    """`invoke secret list`."""
    declared, options = _declared(project, stage)
    found = secret_store.listing(Gcloud(options.project, env=env), declared, options=options)
    return _lines(found) if as_json else _text(secret_store.text(found))


def estimate(*, tasks_per_day: float, seconds: float, stage: str = "", as_json: bool = False) -> int:
    """`invoke cost`."""
    as_of, prices = cost.load_prices()
    declared = topology.load(ROOT / "pipeline.toml", stage=stage)
    load = cost.load_of(declared, tasks_per_day=tasks_per_day, seconds=seconds)
    most = cost_ceiling.ceiling(declared, prices)
    if as_json:
        found = {**cost.figures(load, prices, as_of=as_of), "at_most": [asdict(item) for item in most]}
        Terminal().json(found, indent=2)
        return 0
    at_most = "At most, with all instances at work for a whole month (`max_monthly_cost` limits this):"
    return _text(f"{cost.report(load, prices, as_of=as_of)}\n\n{at_most}\n\n{cost_ceiling.table(most)}")


def status(*, project: str = "", stage: str = "", as_json: bool = False) -> int:
    """`invoke status --project`."""
    _, options = _declared(project, stage)
    gcloud = Gcloud(options.project)
    found = operate.status(gcloud, options=options, tracks=release_tracks.installed(gcloud))
    if as_json:
        Terminal().json(found, indent=2)
        return 0
    return _text(operate.status_text(found))


def logs(*, project: str = "", stage: str = "", service: str = "", lines: int = 50, follow: bool = False) -> int:
    """`invoke logs --project`."""
    lines = units.positive(lines, option="--lines")
    _, options = _declared(project, stage)
    for line in operate.log_lines(
        Gcloud(options.project), options=options, service=service, lines=lines, follow=follow
    ):
        print(visible(line), flush=True)
    return 0


def run_e2e(*, project: str = "", stage: str = "") -> int:
    """`invoke e2e --project`: the checks, then their objects are deleted; the records go with their lifecycle."""
    _, options = _declared(project, stage)
    gcloud = Gcloud(options.project)
    prefix = f"e2e-{secrets.token_hex(4)}"
    try:
        return 0 if e2e.run(operate.api(gcloud, options), prefix=prefix) else 1
    finally:
        for folder in ("uploads", "processed"):
            # A run that failed early has left nothing there: then there is nothing to delete.
            with contextlib.suppress(GcloudFailed):
                gcloud.run(command("storage", "rm", "--recursive", f"gs://{options.bucket}/{folder}/{prefix}/"))


def access(*, project: str = "", stage: str = "") -> Access:
    """The deployed API, for the `--project` and `--stage` of the commands in poolhouse/commands."""
    _, options = _declared(project, stage)
    gcloud = Gcloud(options.project)
    url = operate.api(gcloud, options).url
    return Access(
        project=options.project,
        url=url,
        token=lambda: identity_token(gcloud, url),
        log_filter=log_filter(options),
        cloud_trace=bool(options.cloud_trace),
    )


def _accounts_of_others(options: Options) -> frozenset[str]:
    """The accounts that other deployments of pipeline.toml, which may be in the same project, run as."""
    others = (each for each in topology.load_all(ROOT / "pipeline.toml") if each.name != options.name)
    there = (each for each in others if each.deploy.project in {"", options.project})
    return frozenset(email for each in there for _, email in each.deploy.accounts if email is not None)


def _lines(rows: Iterable[DataclassInstance]) -> int:
    """Print a JSON object a line."""
    terminal = Terminal()
    for row in rows:
        terminal.json(asdict(row))
    return 0


def _text(text: str) -> int:
    print(text)
    return 0


def _declared(project: str, stage: str) -> tuple[topology.Topology, Options]:
    """A stage of pipeline.toml, and where it goes."""
    declared = topology.load(ROOT / "pipeline.toml", stage=stage)
    return declared, Options.declared(declared, project=project)


def _workers(name: str) -> Literal["pool", "job"]:
    match name:
        case "pool" | "job":
            return name
        case _:
            raise ConfigError(f"--workers {name!r}: pool or job")
