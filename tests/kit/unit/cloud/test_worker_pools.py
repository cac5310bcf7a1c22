"""The declaration of a worker pool: probes, GPU, and what of a pool that is there stays in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan.planner import Action, decide
from poolhouse.cloud.rehearsal.control_plane import ControlPlane
from poolhouse.cloud.rehearsal.faults import Faults
from poolhouse.cloud.rehearsal.http import Request, Response
from poolhouse.cloud.rehearsal.services import ROUTES
from poolhouse.cloud.resource import Resource
from poolhouse.pipeline.config.deploy_options import Vpc
from poolhouse.pipeline.config.topology import parse
from tests.kit.unit.cloud.conftest import PIPELINE, Make
from tests.kit.unit.cloud.test_catalogue import by_id

GPU = PIPELINE.replace("cpu = 1\nmemory_mib = 512", 'cpu = 4\nmemory_mib = 16384\ngpu = "nvidia-l4"')
COUNT = "run.googleapis.com/manualInstanceCount"
POOLS = "/apis/run.googleapis.com/v1/namespaces/some-project/workerpools"


def pool_of(make: Make, text: str = PIPELINE, **choices: Any) -> Resource:
    return by_id(make(parse(text), image="gcr.io/some/image@sha256:aaaa", **choices), "pool/shop-mail")


def declared(action: Action) -> Any:
    """What the one command of an action declares."""
    (command,) = action.commands
    assert command.arguments == ("beta", "run", "worker-pools", "replace", "{file:shop-mail.json}")
    return json.loads(command.files["shop-mail.json"].replace("{image}", "gcr.io/some/image@sha256:aaaa"))


class CloudRun:
    """Cloud Run of the rehearsal, with the account of the workers."""

    def __init__(self) -> None:
        """Begin with no pool."""
        self.control_plane = ControlPlane(project="some-project", token="word", routes=ROUTES, faults=Faults())
        self.control_plane.state.enabled.add("run.googleapis.com")
        account = "shop-worker@some-project.iam.gserviceaccount.com"
        self.control_plane.state.create(f"iam/projects/some-project/serviceAccounts/{account}", {"email": account})

    def __call__(self, method: str, body: Any = None, *, path: str = POOLS, region: str = "europe-west1") -> Response:
        headers, content = {"authorization": "Bearer word"}, b"" if body is None else json.dumps(body).encode()
        host = f"{region}-run.googleapis.com"
        return self.control_plane(Request(host=host, method=method, path=path, query={}, headers=headers, body=content))

    def deploy(self, pool: Resource) -> Action:
        """Decide on a pool and declare it, as gcloud does with `replace`."""
        action = decide(pool, self.listed())
        body = declared(action)
        answer = self("PUT", body, path=f"{POOLS}/shop-mail") if self.listed() else self("POST", body)
        assert answer.status == 200, answer.body
        assert decide(pool, self.listed()).verb == "unchanged"
        return action

    def listed(self) -> Any:
        return self("GET").body["items"]


@pytest.fixture
def cloud_run() -> CloudRun:
    return CloudRun()


def container_of(body: Any) -> Any:
    (container,) = body["spec"]["template"]["spec"]["containers"]
    return container


class TestProbes:
    def test_a_worker_is_asked_for_its_health_on_the_port_that_it_opens(self, make: Make) -> None:
        for text, port in (
            (PIPELINE, 8081),
            (f'{PIPELINE}[queues.mail.env]\nWORKER_HEALTH_PORT = "9000"', 9000),
        ):
            container = container_of(declared(decide(pool_of(make, text), None)))
            variables = {item["name"]: item["value"] for item in container["env"]}
            assert (variables["WORKER_HEALTH_PORT"], variables["WORKER_HEALTH_HOST"]) == (str(port), "0.0.0.0")
            probes = [container["startupProbe"], container["livenessProbe"]]
            assert [probe["httpGet"] for probe in probes] == [{"path": "/health", "port": port}] * 2
            # The watchdog inside, which ends a worker in order, is faster than the probe, which kills it.
            liveness = container["livenessProbe"]
            assert liveness["periodSeconds"] * liveness["failureThreshold"] > int(variables["WORKER_WATCHDOG_S"])

    def test_a_port_of_0_means_no_probes(self, make: Make, cloud_run: CloudRun) -> None:
        cloud_run.deploy(pool_of(make))
        without = pool_of(make, f'{PIPELINE}[queues.mail.env]\nWORKER_HEALTH_PORT = "0"')
        changes = {change.field: change.after for change in cloud_run.deploy(without).changes}
        assert changes == {"startup_probe": None, "liveness_probe": None, "env WORKER_HEALTH_PORT": "0"}
        assert not {"startupProbe", "livenessProbe"} & set(container_of(cloud_run.listed()[0]))

    @pytest.mark.parametrize("port", ["http", "-1", "65536", "", "8_081", "\u0663"])
    def test_what_is_no_port_is_refused(self, port: str, make: Make) -> None:
        with pytest.raises(
            CloudError, match=r"WORKER_HEALTH_PORT under \[env\] of pipeline\.toml must be a number from 0"
        ):
            pool_of(make, f'{PIPELINE}[queues.mail.env]\nWORKER_HEALTH_PORT = "{port}"')

    @pytest.mark.parametrize("by_hand", [None, {"tcpSocket": {"port": 8081}}, {"periodSeconds": 240}])
    def test_a_probe_that_was_changed_by_hand_is_put_back(
        self, by_hand: dict[str, Any] | None, make: Make, cloud_run: CloudRun
    ) -> None:
        pool = pool_of(make)
        cloud_run.deploy(pool)
        (item,) = cloud_run.listed()
        container = container_of(item)
        probe = container.pop("livenessProbe")
        if by_hand is not None:
            container["livenessProbe"] = by_hand if "tcpSocket" in by_hand else {**probe, **by_hand}
        assert [change.field for change in cloud_run.deploy(pool).changes] == ["liveness_probe"]

    def test_what_cloud_run_adds_to_a_probe_by_itself_is_no_difference(self, make: Make, cloud_run: CloudRun) -> None:
        pool = pool_of(make)
        cloud_run.deploy(pool)
        for kind in ("startupProbe", "livenessProbe"):
            container_of(cloud_run.listed()[0])[kind] |= {"initialDelaySeconds": 0, "successThreshold": 1}
        assert decide(pool, cloud_run.listed()).verb == "unchanged"


class TestGpu:
    def test_a_pool_has_the_gpu_that_is_declared_and_loses_it_with_the_line(
        self, make: Make, cloud_run: CloudRun
    ) -> None:
        cloud_run.deploy(pool_of(make, GPU))
        template = cloud_run.listed()[0]["spec"]["template"]
        assert template["spec"]["nodeSelector"] == {"run.googleapis.com/accelerator": "nvidia-l4"}
        assert container_of(cloud_run.listed()[0])["resources"]["limits"]["nvidia.com/gpu"] == "1"
        # GPUs in several zones have a quota of their own, and cost more.
        assert template["metadata"]["annotations"] == {"run.googleapis.com/gpu-zonal-redundancy-disabled": "true"}
        changes = {change.field: change.after for change in cloud_run.deploy(pool_of(make)).changes}
        assert changes == {"gpu": None, "cpu": 1, "memory_mib": 512}
        template = cloud_run.listed()[0]["spec"]["template"]
        assert ("nodeSelector" in template["spec"], template["metadata"]["annotations"]) == (False, {})

    def test_the_largest_pool_without_one_is_taken(self, make: Make, cloud_run: CloudRun) -> None:
        cloud_run.deploy(pool_of(make, PIPELINE.replace("cpu = 1\nmemory_mib = 512", "cpu = 8\nmemory_mib = 32768")))

    def test_the_rehearsal_refuses_what_cloud_run_refuses(self, make: Make, cloud_run: CloudRun) -> None:
        def refused(words: str, region: str = "europe-west1", **changes: Any) -> None:
            body = declared(decide(pool_of(make, GPU, region=region), None))
            template, container = body["spec"]["template"], container_of(body)
            container["resources"]["limits"] |= changes.get("limits", {})
            container |= changes.get("container", {})
            template["spec"] |= changes.get("spec", {})
            template["metadata"]["annotations"] |= changes.get("annotations", {})
            answer = cloud_run("POST", body, region=region)
            assert (answer.status, words in str(answer.body)) == (400, True), answer.body

        port = {"httpGet": {"path": "/health", "port": 8081}}
        refused("needs at least 4 CPU", limits={"cpu": "2"})
        refused("needs at least 4 CPU", limits={"memory": "8192Mi"})
        refused("go together", spec={"nodeSelector": {}})
        refused("is none of nvidia-l4", spec={"nodeSelector": {"run.googleapis.com/accelerator": "nvidia-t4"}})
        refused("zonal redundancy", annotations={"run.googleapis.com/gpu-zonal-redundancy-disabled": "false"})
        refused("not available in region us-east1", region="us-east1")
        refused("an action with a port", container={"livenessProbe": {"httpGet": {"path": "/health"}}})
        refused("an action with a port", container={"livenessProbe": {"tcpSocket": {"port": 8081}}})
        refused("is above 240", container={"startupProbe": {**port, "periodSeconds": 30, "failureThreshold": 9}})
        refused("above periodSeconds", container={"livenessProbe": {**port, "timeoutSeconds": 11}})


class TestWhatIsThere:
    def test_what_others_have_added_stays_and_what_cloud_run_writes_is_not_sent_back(
        self, make: Make, cloud_run: CloudRun
    ) -> None:
        cloud_run.deploy(
            pool_of(make, vpc=Vpc(network="backend", subnet="backend-eu"), cloud_sql=("a:europe-west1:b",))
        )
        (item,) = cloud_run.listed()
        item["metadata"]["labels"]["cost-centre"] = "42"
        item["metadata"]["annotations"] |= {
            "run.googleapis.com/binary-authorization": "default",
            "run.googleapis.com/operation-id": "7",
            "serving.knative.dev/lastModifier": "ann@example.com",
        }
        item["spec"]["template"]["metadata"]["annotations"] |= {
            "run.googleapis.com/encryption-key": "projects/keys/key",
            "run.googleapis.com/client-version": "528.0.0",
        }
        body = declared(cloud_run.deploy(pool_of(make)))
        assert body["metadata"]["labels"]["cost-centre"] == "42"
        assert body["metadata"]["annotations"] == {
            "run.googleapis.com/scalingMode": "manual",
            COUNT: "1",
            "run.googleapis.com/binary-authorization": "default",
        }
        # Network and database went from pipeline.toml.
        assert body["spec"]["template"]["metadata"]["annotations"] == {
            "run.googleapis.com/encryption-key": "projects/keys/key"
        }

    def test_a_division_alone_makes_no_revision(self, make: Make, cloud_run: CloudRun) -> None:
        pool = pool_of(make)
        cloud_run.deploy(pool)
        (item,) = cloud_run.listed()
        first = item["status"]["latestReadyRevisionName"]
        item["spec"]["instanceSplits"] = [{"revisionName": first, "percent": 100}]
        (command,) = decide(pool, cloud_run.listed()).commands
        assert command.arguments[3:] == ("update-instance-split", "shop-mail", "--region=europe-west1", "--to-latest")

    def test_a_revision_that_did_not_get_ready_is_deployed_again(self, make: Make, cloud_run: CloudRun) -> None:
        pool = pool_of(make)
        cloud_run.deploy(pool)
        status = cloud_run.listed()[0]["status"]
        status["conditions"][0]["status"] = "Unknown"  # on its way
        assert decide(pool, cloud_run.listed()).verb == "unchanged"
        status["conditions"][0]["status"] = "False"
        assert decide(pool, cloud_run.listed()).verb == "unchanged"  # it was ready once: no deploy helps
        status["latestCreatedRevisionName"] = "shop-mail-2"
        changes = cloud_run.deploy(pool).changes
        assert [(change.field, change.before, change.after) for change in changes] == [
            ("failed_revision", "shop-mail-2", None)
        ]

    def test_an_autoscalers_number_is_left_as_it_is_when_the_pool_changes(
        self, make: Make, cloud_run: CloudRun
    ) -> None:
        pool = pool_of(make, autoscale=True)
        cloud_run.deploy(pool)
        cloud_run.listed()[0]["metadata"]["annotations"][COUNT] = "7"
        assert decide(pool, cloud_run.listed()).verb == "unchanged"
        changed = pool_of(make, PIPELINE.replace("cpu = 1", "cpu = 2"), autoscale=True)
        assert declared(cloud_run.deploy(changed))["metadata"]["annotations"][COUNT] == "7"
        # It may have changed again since the plan was made.
        assert (pool.moving, pool_of(make).moving) == (True, False)

    def test_any_value_of_a_variable_reaches_the_pool(self, make: Make, cloud_run: CloudRun) -> None:
        value = 'a,b=c "quoted" \\u00e9 \U0001f409\n{x}'
        text = f"{PIPELINE}[queues.mail.env]\nSAID = {json.dumps(value, ensure_ascii=False)}"
        assert {"name": "SAID", "value": value} in container_of(declared(cloud_run.deploy(pool_of(make, text))))["env"]


def test_the_declaration_is_for_the_region_of_the_deploy(make: Make) -> None:
    body = declared(decide(pool_of(make, region="us-east1"), None))
    assert body["metadata"]["labels"] == {"poolhouse": "shop", "cloud.googleapis.com/location": "us-east1"}
    assert Options(project="some-project", name="shop").region != "us-east1"
