"""`invoke destroy --project`: remove what deploys of this pipeline made, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import groupby

from poolhouse.cloud.errors import CloudError, GcloudFailed, Refused
from poolhouse.cloud.gcloud import advice, release_tracks
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.gcloud.runner import Gcloud, together
from poolhouse.cloud.kinds import project, storage
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan import desired
from poolhouse.cloud.plan.actual import read_project
from poolhouse.cloud.plan.apply import CONFLICTS
from poolhouse.cloud.plan.leftovers import lasting_grants, own_bindings, project_bindings, sweeps
from poolhouse.cloud.plan.rendering import removal_text
from poolhouse.cloud.resource import Command, Json, Leftover, entry
from poolhouse.pipeline.config.topology import Topology

#: Asks for a word; destroy goes on only with the project's id.
AskWord = Callable[[str], str]


def find(
    gcloud: Gcloud,
    topology: Topology,
    *,
    options: Options,
    tracks: ReleaseTracks,
    keep_bucket: bool = True,
    needed: Collection[str] = (),
) -> tuple[Leftover, ...]:
    """All that deploys of this pipeline made, in the order of removal; arguments and errors as of `destroy`."""
    base = read_project(gcloud, options.project)
    wanted = sweeps(options, tracks, keep_bucket=keep_bucket)
    policy = project.policy(options.project)
    resources = desired.resources(
        topology, options=options, tracks=tracks, project_number=base.number, tag="", image=""
    )
    lasting = lasting_grants(resources, options=options, keep_bucket=keep_bucket)
    reads = [
        read
        for read in (*(sweep.read for sweep in wanted), policy, *(item.read for item in lasting))
        if read.api in base.enabled
    ]
    snapshot = gcloud.read_all(tuple(dict.fromkeys(reads)))
    _check_region(snapshot.get(storage.BUCKETS.arguments), options)
    found = [leftover for sweep in wanted for leftover in sweep.find(snapshot.get(sweep.read.arguments))]
    bindings = (
        *project_bindings(snapshot.get(policy.arguments), options),
        *own_bindings(lasting, snapshot, options=options, needed=needed),
    )
    accounts = [leftover for leftover in found if leftover.kind == "account"]
    return (*(leftover for leftover in found if leftover.kind != "account"), *bindings, *accounts)


def _check_region(buckets: Json, options: Options) -> None:
    """Refuse another region than that of the deploy: the project's things would go, and what runs would stay.

    Raises:
        Refused: a bucket of this pipeline is somewhere else.
    """
    for name in options.buckets:
        found = entry(buckets, "name", name)
        if found and str(found.get("location", "")).upper() != options.region.upper():
            region = str(found["location"]).lower()
            raise Refused(
                f"{options.name} is in {region} (its bucket gs://{name} is), not in {options.region}: nothing was "
                f'removed. Set region = "{region}" under [deploy] in pipeline.toml for it; if only that bucket is '
                f"left, `gcloud storage rm -r gs://{name}`."
            )


def destroy(
    gcloud: Gcloud,
    topology: Topology,
    *,
    options: Options,
    tracks: ReleaseTracks | None = None,
    keep_bucket: bool = True,
    needed: Collection[str] = (),
    ask: AskWord,
    say: Callable[[str], None] = print,
) -> tuple[Leftover, ...]:
    """List what is there, ask for the project's id, remove it; returns what was removed.

    APIs stay enabled: others may use them by now, and an enabled API costs nothing.

    Args:
        gcloud: with what.
        topology: pipeline.toml.
        options: project, region and name of the pipeline.
        tracks: the release tracks; looked up where not given.
        keep_bucket: whether the bucket with the results stays.
        needed: e-mail addresses of accounts that other deployments of pipeline.toml run as.
        ask: asked for the project's id.
        say: where lines for the person go.

    Raises:
        CloudError: another word was given (nothing was removed), or something could not be removed (the rest was).
    """
    tracks = tracks or release_tracks.installed(gcloud)
    found = find(gcloud, topology, options=options, tracks=tracks, keep_bucket=keep_bucket, needed=needed)
    if not found:
        say(f"Nothing of {options.name} is in {options.project} ({options.region}).")
        return ()
    say(removal_text(found, project=options.project))
    if keep_bucket:
        say(f"gs://{options.bucket} is kept, with all that is in it (--delete-bucket removes it too).")
    if ask(f"Type the project's id to remove these {len(found)} from it: ").strip() != options.project:
        raise CloudError("not destroyed: that was not the project's id. Nothing was removed.")
    remove(found, gcloud, say=say)
    say(f"Removed {len(found)}. The APIs stay enabled.")
    return found


def remove(leftovers: Sequence[Leftover], gcloud: Gcloud, *, say: Callable[[str], None]) -> None:
    """Remove in the given order, those of one kind at the same time; what is gone already is as it should be.

    Raises:
        CloudError: something could not be removed; all else was.
    """
    failures: list[GcloudFailed] = []

    def one(leftover: Leftover) -> None:
        try:
            for command in leftover.delete:
                _run(command, gcloud)
        except GcloudFailed as error:
            failures.append(error)
        else:
            say(f"  removed {leftover.kind} {leftover.name}")

    try:
        with gcloud.threads("remove") as pool:
            for kind, group in groupby(leftovers, key=lambda leftover: leftover.kind):
                if kind == "binding":  # one policy: never two changes at a time
                    for leftover in group:
                        one(leftover)
                else:
                    together(pool, one, group)
    except KeyboardInterrupt:
        say("\nBroken off: what was removed stays removed. Run it again: it goes on from there.")
        raise
    if failures:
        text = "\n\n".join(str(failure) for failure in failures)
        raise CloudError(f"{text}\n\n{len(failures)} could not be removed. Run it again once that is mended.")


def _run(command: Command, gcloud: Gcloud) -> None:
    """Remove one thing, which may be gone already. Raises `GcloudFailed`."""
    for attempt in range(CONFLICTS + 1):
        try:
            gcloud.run(command)
        except GcloudFailed as error:
            verdict = advice.verdict(error.output, reading=True)
            if verdict == "conflict" and attempt < CONFLICTS:
                continue  # it was changed at the same time; gcloud reads it again itself
            if verdict != "absent":
                raise
        return
