"""A deploy with a canary: deploy beside the present release, watch, then promote the new one or go back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from poolhouse.cloud.canary import parts
from poolhouse.cloud.canary.decision import LEAST, conclude
from poolhouse.cloud.canary.parts import Part
from poolhouse.cloud.canary.watch import Clock, Comparison, watch
from poolhouse.cloud.deploy import Ask, deploy
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud import release_tracks
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan.apply import Values, apply
from poolhouse.cloud.plan.planner import plan
from poolhouse.cloud.plan.progress import Lines
from poolhouse.cloud.plan.rendering import plan_text
from poolhouse.pipeline.config.topology import Topology

STAYS = (
    "The new release keeps its share. `./invoke deploy --canary 0` gives it everything, with its share instead of 0 "
    "the watch goes on; `./invoke rollback` takes it back."
)


def roll_out(
    gcloud: Gcloud,
    topology: Topology,
    *,
    options: Options,
    root: Path,
    percent: int,
    watch_s: float,
    dry_run: bool = False,
    prune: bool = False,
    ask: Ask,
    say: Callable[[str], None] = print,
    clock: Clock | None = None,
) -> None:
    """Deploy with a canary, to its end.

    Args:
        gcloud: with what.
        topology: pipeline.toml.
        options: the choices of the deploy.
        root: folder with the Dockerfile.
        percent: share of requests and instances that the new release gets at first.
        watch_s: how long it is watched, in seconds.
        dry_run: show the plan of the first step, change nothing.
        prune: at the end, also remove what pipeline.toml does not want any more.
        ask: asked before anything is changed.
        say: where lines for the person go.
        clock: moved in tests.

    Raises:
        CloudError: the deploy failed; or the new release was taken back, or keeps its share, for the reason given.
    """
    tracks = release_tracks.installed(gcloud)
    prepared = deploy(
        gcloud, topology, options=options, root=root, tracks=tracks, dry_run=dry_run, prune=prune, canary=percent,
        ask=ask, say=say,
    )  # fmt: skip
    if dry_run and prepared.canaries:
        say(f"Then both releases are watched for {watch_s:g} s: the new one gets everything, or is taken back.")
    if dry_run or not prepared.canaries:
        return
    divided = parts.read(gcloud, options=options, tracks=tracks)
    say(f"\nWatching both releases for {watch_s:g} s. Ctrl-C ends this and changes nothing.")
    try:
        found = watch(gcloud, divided, length_s=watch_s, clock=clock or Clock(), say=say)
    except KeyboardInterrupt:
        say(f"\n{STAYS}")
        raise
    except CloudError as error:
        raise CloudError(f"{error}\n\nThe releases can't be compared. {STAYS}") from error
    if parts.read(gcloud, options=options, tracks=tracks) != divided:
        raise CloudError(
            "the releases were changed elsewhere meanwhile: nothing more was done. See `./invoke releases`."
        )
    match conclude(comparison.verdict for comparison in found):
        case "take back":
            try:
                take_back(
                    gcloud, divided, topology=topology, options=options, tracks=tracks, ask=lambda question: True,
                    say=say,
                )  # fmt: skip
            except CloudError as error:
                raise CloudError(
                    f"the new release could not be taken back everywhere:\n{_reasons(found)}\n\n{error}"
                ) from error
            raise CloudError(
                f"the new release was taken back; the one before runs alone:\n{_reasons(found)}\n"
                "`./invoke logs` shows what failed. The next deploy brings it again: mend it first."
            )
        case "stay":
            raise CloudError(
                f"too little has happened to judge the new release: it takes {LEAST} requests or attempts of each.\n"
                f"{STAYS}"
            )
        case "promote":
            say("\nNo part is worse: the new release gets everything.\n")
    # By its tag: the sources may have been edited meanwhile.
    deploy(
        gcloud, topology, options=options, root=root, tracks=tracks, prune=prune, release=prepared.tag,
        ask=lambda question: True, say=say,
    )  # fmt: skip


def take_back(
    gcloud: Gcloud,
    divided: Sequence[Part],
    *,
    topology: Topology,
    options: Options,
    tracks: ReleaseTracks,
    dry_run: bool = False,
    ask: Ask,
    say: Callable[[str], None] = print,
) -> None:
    """Give everything back to the old revisions.

    Args:
        gcloud: with what.
        divided: the parts that have a canary.
        topology: pipeline.toml.
        options: the choices of the deploy.
        tracks: the release tracks.
        dry_run: show the plan, change nothing.
        ask: asked before anything is changed.
        say: where lines for the person go.

    Raises:
        CloudError: nothing was changed, or not everything.
    """
    wanted = parts.back(divided, topology=topology, options=options, tracks=tracks)
    work = plan(wanted, gcloud.read_all(tuple(dict.fromkeys(resource.read for resource in wanted))))
    say(plan_text(work, project=options.project))
    if dry_run:
        return
    if not ask(f"Take the new release in {options.project} back?"):
        raise CloudError("nothing was changed.")
    apply(
        work, gcloud, values=Values(), repository=options.repository, progress=Lines(len(work.work)),
        again="`./invoke rollback` once more",
    )  # fmt: skip


def _reasons(found: Sequence[Comparison]) -> str:
    return "\n".join(f"  {comparison}" for comparison in found if comparison.verdict in {"worse", "silent"})
