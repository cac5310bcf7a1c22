"""The deployed console: a Cloud Run service behind Identity-Aware Proxy, and who may open it."""

from __future__ import annotations

from collections.abc import Iterator

from poolhouse.client.target import URL_VARIABLE
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.kinds import containers, project, run, serving, shares
from poolhouse.cloud.kinds.connections import Connections
from poolhouse.cloud.kinds.connections import observed as observed_connections
from poolhouse.cloud.kinds.containers import Container
from poolhouse.cloud.kinds.grants import grants
from poolhouse.cloud.kinds.serving import Serving
from poolhouse.cloud.log_filter import log_filter
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import IMAGE, Command, Fields, Json, Read, Resource, command, flag, pairs
from poolhouse.pipeline.config.console_options import ACCESS_VARIABLE, Console, ConsoleAccess

#: Size of the one instance: pages are small, and the notes that follow an act are kept in memory.
CPU, MEMORY_MIB, MAX_INSTANCES = 1, 512, 1
_SERVING = Serving(concurrency=80, min_instances=0, max_instances=MAX_INSTANCES, checked=True)
#: Not in the released tracks of gcloud 528. What is released stays in beta.
_RUN, _IAP = ("beta", "run"), ("beta", "iap", "web")
_ENABLED = "run.googleapis.com/iap-enabled"
_OPENS = "roles/iap.httpsResourceAccessor"


def resources(
    declared: Console, *, image: str, options: Options, tracks: ReleaseTracks, project_number: str
) -> Iterator[Resource]:
    """The service, the proxy's account and its right to call the service, and who may pass the proxy.

    Args:
        declared: who may look, and who may act.
        image: path and digest.
        options: the choices of the deploy.
        tracks: the release tracks of the installed gcloud.
        project_number: number of the project.
    """
    name, region = options.console_service, flag("region", options.region)
    agent = f"serviceAccount:service-{project_number}@gcp-sa-iap.iam.gserviceaccount.com"
    policy = Read(arguments=("run", "services", "get-iam-policy", name, region), api=run.API, needs=f"service/{name}")
    yield project.service_agent("iap", agent, read=policy, options=options, tracks=tracks)
    yield _service(declared, image=image, options=options, project_number=project_number)
    # With the proxy on, gcloud grants this too, but not where a service was made in another way.
    yield grants(
        f"service/{name}",
        {"roles/run.invoker": (agent,)},
        options=options,
        arguments=("run", "services"),
        name=name,
        api="run",
        more=(region,),
        # Whoever calls the service past the proxy has no assertion; all the same nobody else has a reason to.
        sole=("roles/run.invoker",),
        after=("agent/iap",),
    )
    yield grants(
        f"iap/{name}",
        {_OPENS: declared.members},
        options=options,
        arguments=_IAP,
        name="",
        api="iap",
        more=("--resource-type=cloud-run", flag("service", name), region),
        sole=(_OPENS,),
        on=f"service/{name}",
    )


def _service(declared: Console, *, image: str, options: Options, project_number: str) -> Resource:
    name = options.console_service
    container = Container(
        env=_environment(declared, options=options, project_number=project_number),
        account=options.account("console"),
        cpu=CPU,
        memory_mib=MEMORY_MIB,
        arguments=("-m", "poolhouse.local.console.deployed"),
        connections=Connections(),
    )
    wanted: Fields = {
        **container.wanted(image),
        **_SERVING.wanted(),
        "iap": True,
        "traffic": shares.LATEST,
        **containers.label_fields(options),
    }
    arguments = (
        *_RUN,
        "deploy",
        name,
        flag("region", options.region),
        flag("image", IMAGE),
        *container.flags(),
        flag("labels", pairs(options.labels)),
        *_SERVING.flags(),
        "--iap",
    )

    def observe(raw: Json) -> Fields | None:
        there = containers.named(raw, name)
        if there is None:
            return None
        template = there["spec"]["template"]
        return {
            **containers.observed_fields(template["spec"]["containers"][0], template["spec"]),
            **observed_connections(template, options),
            **serving.observed(there),
            "iap": there["metadata"].get("annotations", {}).get(_ENABLED, "false").lower() == "true",
            "traffic": shares.of(there).text,
            **containers.observed_labels(there, options),
        }

    def update(raw: Json) -> tuple[Command, ...]:
        present = observe(raw) or {}
        deploy = command(*arguments, *container.connections.removals(present))
        if present.get("traffic") == shares.LATEST:
            return (deploy,)
        back = command("run", "services", "update-traffic", name, flag("region", options.region), "--to-latest")
        return (deploy, back)

    return Resource(
        kind="service",
        name=name,
        wanted=wanted,
        read=run.services_read(options),
        observe=observe,
        create=(command(*arguments),),
        update=update,
        after=("image", f"account/{options.account_name('console')}", "agent/iap"),
    )


def _environment(declared: Console, *, options: Options, project_number: str) -> dict[str, str]:
    """What the console reads: no variable of the pipeline's own, no secret, no bucket."""
    path = f"/projects/{project_number}/locations/{options.region}/services/{options.console_service}"
    access = ConsoleAccess(
        audience=path,
        operators=declared.operators,
        log_filter=log_filter(options),
        cloud_trace=bool(options.cloud_trace),
    )
    return {
        "GOOGLE_CLOUD_PROJECT": options.project,
        **({"PIPELINE_STAGE": options.stage} if options.stage else {}),
        URL_VARIABLE: options.api_url(project_number),
        ACCESS_VARIABLE: access.model_dump_json(),
    }
