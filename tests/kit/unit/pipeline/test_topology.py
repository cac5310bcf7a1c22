"""pipeline.toml: what it means, and what its mistakes are told as."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from pydantic import BaseModel

from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.bucket import Bucket, Payloads
from poolhouse.pipeline.config.deploy_options import Api, Deploy, Vpc
from poolhouse.pipeline.config.objectives import Objectives
from poolhouse.pipeline.config.queue import Queue, Workers
from poolhouse.pipeline.config.schedule import Schedule
from poolhouse.pipeline.config.triggers import Trigger
from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.pipeline.errors import ConfigError
from tests.tally import Tally

SHIPPED = Path(__file__).parents[4] / "pipeline.toml"


def test_the_file_that_ships_declares_three_queues_and_a_schedule() -> None:
    declared = topology.load(SHIPPED)
    assert [queue.name for queue in declared.queues] == ["urgent", "default", "bulk"]
    assert declared.default_queue.name == "default"
    assert [schedule.queue for schedule in declared.schedules] == ["bulk"]


def test_the_resources_of_a_queue_are_named_after_the_pipeline() -> None:
    queue = topology.parse('name = "shop"\n[queues.mail]').queues[0]
    assert (queue.topic, queue.subscription) == ("shop-mail", "shop-mail-workers")
    assert queue.dead_letter_topic == queue.dead_letter_subscription == "shop-mail-dead-letters"


@pytest.mark.parametrize(("attempts", "deliveries"), [(1, 5), (5, 15), (40, 100)])
def test_pubsubs_own_limit_of_deliveries_is_a_backstop_behind_the_attempts(attempts: int, deliveries: int) -> None:
    queue = topology.parse(f"[queues.mail]\nmax_attempts = {attempts}").queues[0]
    assert queue.max_delivery_attempts == deliveries


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[queues.a]\nack_deadline_s = 5", 2, "ack_deadline_s: Input should be greater than or equal to 10"),
        ("[queues.a]\n\nspeed = 5", 3, "speed: unknown field (allowed: ack_deadline_s"),
        ("[queues.a]\n[queues.a.workers]\ncpu = 99", 3, "has 1, 2, 4, 6 or 8 vCPU, not 99"),
        ("[queues.a]\n[queues.a.workers]\ncpu = 3", 3, "has 1, 2, 4, 6 or 8 vCPU, not 3"),
        ("[queues.a]\n[queues.a.workers]\ncpu = 0.5", 3, "cpu: Input should be a valid integer"),
        ("[queues.a]\n[queues.a.workers]\nmemory_mib = 256", 2, "with 1 vCPU a worker pool takes 512 to 4096 MiB"),
        ("[queues.a]\n[queues.a.workers]\ncpu = 4\nmemory_mib = 1024", 2, "with 4 vCPU a worker pool takes 2048 to"),
        (
            "[queues.a.workers]\ngpu = 'nvidia-l5'",
            2,
            "no GPU of Cloud Run, which are nvidia-l4 and nvidia-rtx-pro-6000. Did",
        ),
        ("[queues.a.workers]\ngpu = 'nvidia-l4'", 1, "with nvidia-l4 has 4, 6 or 8 vCPU, not 1"),
        ("[queues.a.workers]\ncpu = 4\nmemory_mib = 8192\ngpu = 'nvidia-l4'", 1, "with nvidia-l4 takes 16384 MiB"),
        ("[queues.a.workers]\ncpu = 20\nmemory_mib = 81920", 1, "a worker pool has 1, 2, 4, 6 or 8 vCPU, not 20"),
        (
            "[deploy]\nworkers = 'job'\n[queues.a.workers]\ncpu = 8\nmemory_mib = 32768\ngpu = 'nvidia-l4'",
            6,
            'queues.a.workers.gpu: GPUs are for workers = "pool"',
        ),
        ("[queues.A_B]", 1, "a name has 1 to 30 lowercase letters"),
        ("[queues.a]\nretry_min_backoff_s = 9\nretry_max_backoff_s = 3", 1, "retry_min_backoff_s (9) is above"),
        ("[queues.a]\n[schedules.s]\ncron = '* * *'\ntask_type = 't'", 3, "five fields"),
        ("[queues.a]\n[schedules.s]\ncron = '0 0 30 2 x'\ntask_type = 't'", 3, "not possible"),
        # A file beside those of the database, on some systems: Cloud Scheduler knows no such zone.
        ("[queues.a]\n[schedules.s]\ncron = '0 0 * * *'\ntime_zone = 'localtime'\ntask_type = 't'", 4, "IANA"),
        ("[queues.a]\n[schedules.s]\ncron = '0 0 * * *'\ntime_zone = 'Mars'\ntask_type = 't'", 4, "IANA"),
        ("[queues.a]\n[schedules.s]\ncron = '0 0 * * *'\ntime_zone = 'utc'\ntask_type = 't'", 4, "mean 'UTC'"),
        (
            "[queues.a]\n[schedules.s]\ncron = '0 0 * * *'\ntime_zone = 'Europe/Berlln'\ntask_type = 't'",
            4,
            "mean 'Europe/Berlin'",
        ),
        (
            "[queues.a]\n[schedules.s]\ncron = '0 0 * * *'\ntask_type = 't'\nqueue = 'b'",
            5,
            "schedules.s.queue: there is no queue 'b'",
        ),
        ("[queues.a]\n[bucket.lifecycle_days]\nattic = 1", 3, "'uploads', 'processed'"),
        ("[queues.a]\nname = 'b'", 2, "name is not set by hand"),
        ("e2e = ['a.b', 'a.b:c']\n[queues.a]", 1, "e2e.1: the name of a module, such as local.e2e.cases"),
        ("handlers = ['a b']\n[queues.a]", 1, "handlers.0: the name of a module, such as worker.handlers"),
        ("stages = 3\n[queues.a]", 1, "write one table for each, as in [stages.NAME]"),
        ("[queues.a]\n[stages.x]\n[stages]\ny = 1", 4, "stages.y: write one table for each"),
        (
            "[queues.a]\n[queues.a.workers]\nmin_instances = 3\nmax_instances = 2",
            2,
            "min_instances (3) is above max_instances (2)",
        ),
        (
            "[queues.a]\n[deploy.api]\nmin_instances = 3\nmax_instances = 2",
            2,
            "min_instances (3) is above max_instances (2)",
        ),
        ("[queues.a]\n[deploy]\nregion = 'mars'", 3, "deploy.region: a region, such as europe-west1"),
        ("[queues.a]\n[env]\npath = ''", 3, "env.path.[key]: a variable has capital letters"),
        ("[queues.a]\nfair_by = 'a b'", 2, "fair_by: the name of a field of the payload"),
        ("[queues.a]\n[deploy.labels]\nTeam = 'a'", 3, "a label has at most 63 lowercase letters"),
        ("[queues.a]\n[deploy.labels]\npoolhouse = 'a'", 3, "labels that a deploy and Google set: choose another key"),
        ("[queues.a]\n[deploy]\ncloud_sql = ['a:b']", 3, "cloud_sql.0: the name of a Cloud SQL instance"),
        ("[queues.a]\n[deploy]\nkms_key = 'tasks'", 3, "kms_key: the full name of a key: projects/P/locations/REGION"),
        (
            "[queues.a]\n[deploy]\nkms_key = 'projects/p/locations/global/keyRings/r/cryptoKeys/k'",
            2,
            "is not in the region of the deploy, europe-west1",
        ),
        ("[queues.a]\n[deploy]\nworker_roles = ['bigquery']", 3, "worker_roles.0: a role, such as roles/bigquery"),
        ("[queues.a]\n[deploy]\nworker_roles = ['roles/editor']", 3, "roles/editor reaches everything in the project"),
        (
            "[queues.a]\n[deploy.accounts]\nworker = '123-compute@developer.gserviceaccount.com'",
            3,
            "deploy.accounts.worker: the e-mail address of a service account: NAME@PROJECT.iam",
        ),
        ("[queues.a]\n[deploy.accounts]\nkeeper = 'a'", 3, "unknown field (allowed: api, worker, dead_letters, sche"),
        ("[queues.a]\n[deploy]\nmax_monthly_cost = -1", 3, "max_monthly_cost: Input should be greater than 0"),
        ("[queues.a]\n[deploy.canary]\npercent = 100", 3, "canary.percent: Input should be less than or equal to 99"),
        ("[queues.a]\n[deploy]\ncanary = { percent = 5, watch_s = 0 }", 3, "watch_s: Input should be greater than 0"),
        ("[queues.a]\n[deploy.vpc]\nnetwork = 'backend'", 2, "deploy.vpc.subnet: Field required"),
        ("[queues.a]\n[deploy.vpc]\nsubnets = []", 3, "unknown field (allowed: network, subnet, egress, tags)"),
        (
            "[queues.a]\n[stages.x.deploy.vpc]\nnetwork = 'projects/host/global/networks/n'\nsubnet = 's'",
            2,
            "stages.x.deploy.vpc: network 'projects/host/global/networks/n' and subnet 's' are of two projects",
        ),
        (
            "[queues.a]\n[deploy]\n[deploy.vpc]\nnetwork = 'projects/host/global/networks/n'\n"
            "subnet = 'projects/host/regions/us-east1/subnetworks/s'",
            2,
            "is not in the region of the deploy, europe-west1",
        ),
        ("queues = 3", 1, "write one table for each, as in [queues.NAME]"),
        ("", 1, "queues: there must be at least one"),
        ("handlers = 'a'\n[queues.a]", 1, "handlers: must be a list"),
        ("[queues.a]\nenv = 3", 2, "queues.a.env: must be a table"),
        ("[queues.a]\n[queues.a.workers]\nconcurrency = true", 3, "concurrency: must be a number, not true"),
        ('[queues.a]\nack_deadline_s = "6_0"', 2, 'ack_deadline_s: must be a number, not "6_0"'),
        ("[queues.a]\n[deploy]\nanonymous_per_day = true", 3, "anonymous_per_day: must be a number, not true"),
        ("[queues.a]\n[deploy]\nautoscale = 1", 3, "autoscale: must be true or false, not 1"),
        ('[queues.a]\n[deploy]\nautoscale = "yes"', 3, 'autoscale: must be true or false, not "yes"'),
        ("[queues.a]\nretry_min_backoff_s = false", 2, "retry_min_backoff_s: must be a number, not false"),
        ("[queues.a]\n[bucket.lifecycle_days]\nuploads = true", 3, "uploads: Input should be a valid integer"),
        ("[queues.a]\nfair_by = 'b'\nfair_weights = { c = true }", 3, "fair_weights.c: Input should be a valid number"),
        ("name = 'google-orders'\n[queues.a]", 1, "names that begin with goog or contain google"),
        ("[queues.a]\n[queues.a-dead-letters]", 2, "queues.a-dead-letters: what keeps dead letters has that name"),
        ("[queues.dead-letters]", 1, "queues.dead-letters: what keeps dead letters has that name"),
        (
            "[queues.a]\n[schedules.run-a]\ncron = '0 0 * * *'\ntask_type = 't'",
            2,
            "schedules.run-a: what starts jobs has that name",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_what_is_allowed(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        topology.parse(text, source="pipeline.toml")
    assert f"pipeline.toml:{line}:" in str(caught.value)
    assert words in str(caught.value)


def test_what_is_not_toml_is_reported_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"not TOML: .*line 2"):
        topology.parse("[queues.a]\nack_deadline_s 10\n[queues.b]")
    with pytest.raises(ConfigError, match="not TOML: maximum recursion depth exceeded"):
        topology.parse("a = " + "[" * 5_000)


def test_a_wrong_name_is_one_mistake() -> None:
    with pytest.raises(ConfigError) as caught:
        topology.parse("name = 'A'\n[queues.a]\n[queues.b]")
    assert str(caught.value).count("\n") == 0


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.toml"
    path.write_text('name = "shop"\n[queues.a]\n', encoding="utf-8-sig")
    assert topology.load(path).name == "shop"


def test_a_missing_file_names_the_variable_that_points_to_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PIPELINE_FILE"):
        topology.load(tmp_path / "none.toml")


#: The tables of a declaration, and what each must have at least.
TABLES: dict[str, tuple[type[BaseModel], dict[str, str]]] = {
    "": (topology.Topology, {}),
    "queues.a": (Queue, {}),
    "queues.a.workers": (Workers, {}),
    "queues.a.slo": (Objectives, {}),
    "schedules.s": (Schedule, {"cron": "'* * * * *'", "task_type": "'t'"}),
    "triggers.t": (Trigger, {"prefix": "'uploads/in/'", "task_type": "'t'"}),
    "bucket": (Bucket, {}),
    "payloads": (Payloads, {}),
    "deploy": (Deploy, {}),
    "deploy.api": (Api, {}),
    "deploy.vpc": (Vpc, {"network": "'backend'", "subnet": "'backend-eu'"}),
    "webhooks": (Webhooks, {"secret": "'HOOKS'"}),
    "stages.x.queues.a": (Queue, {}),
    "stages.x": (topology.Topology, {}),
}
ODD = (
    *(
        "0",
        "1",
        "1000000",
        "-1",
        "0.5",
        "1e400",
        "nan",
        "99999999999999999999",
        "true",
        "''",
        "'x'",
        "'a b'",
        r'"\u0000"',
    ),
    *("[]", "[1]", "['a b']", "['a.b']", "[[]]", "[{}]", "{}", "{ a = 1 }", "{ a = {} }"),
    *("1979-05-27", "1979-05-27T07:32:00Z"),
)


@pytest.mark.parametrize("table", TABLES)
def test_any_value_of_any_field_is_taken_or_a_mistake_with_its_line(table: str) -> None:
    model, required = TABLES[table]
    tally = Tally(ConfigError)
    for field, value in product([*model.model_fields, "stages", "unknown"], ODD):
        fields = "\n".join(f"{name} = {text}" for name, text in {**required, field: value}.items())
        text = f"{fields}\n[queues.a]" if not table else f"[{table}]\n{fields}"
        if table in {"", "queues.a"} and field == "queues":
            text = fields
        elif table and not table.startswith("queues.a"):
            text = f"[queues.a]\n[secrets]\nHOOKS = 'latest'\n{text}"
        with tally:
            try:
                topology.parse(text)
            except ConfigError as error:
                odd = [line for line in str(error).splitlines() if not re.match(r"pipeline\.toml:\d+: ", line)]
                if odd:
                    raise AssertionError(f"{text}\n{odd}") from None
                raise
    tally.check(accepted=1, rejected=20)
