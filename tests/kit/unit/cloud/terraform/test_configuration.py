"""Terraform's form of every resource that a deploy makes, against the provider's own schema."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2
import pytest

from poolhouse.cloud import kinds
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan import desired
from poolhouse.cloud.resource import IMAGE, Resource, command
from poolhouse.cloud.terraform import configuration
from poolhouse.cloud.terraform.form import PROJECT_NUMBER
from poolhouse.pipeline.config.console_options import Console
from poolhouse.pipeline.config.deploy_options import Vpc
from poolhouse.pipeline.config.topology import Topology, parse

SCHEMA = json.loads(Path(__file__).with_name("provider_schema.json").read_text(encoding="utf-8"))
TYPES: Mapping[str, Any] = {name: node for known in SCHEMA["resources"].values() for name, node in known.items()}
#: What Terraform itself takes in every resource (Terraform, Meta-arguments).
META = frozenset({"depends_on", "for_each", "provider", "lifecycle"})
TEMPLATE = "${oops} %{if x}"
PIPELINE = f"""
name = "shop"
[env]
SITE = "{TEMPLATE}"
[secrets]
TOKEN = 3
[queues.mail]
exactly_once = true
[queues.mail.workers]
min_instances = 2
[queues.bulk]
fair_by = "tenant"
[queues.frames.workers]
gpu = "nvidia-l4"
cpu = 4
memory_mib = 16384
[schedules.nightly]
cron = "30 3 * * *"
task_type = "send_mail"
missed_runs = "once"
[triggers.tables]
prefix = "uploads/in/"
task_type = "send_mail"
[bucket.lifecycle_days]
uploads = 30
"""
CHANNEL = "projects/some-project/notificationChannels/7"
CONSOLE = Console(
    deploy=True,
    viewers=("group:shop@example.com",),
    operators=("user:ann@example.com", "user:ann@example.org", "domain:ops.example.com"),
)
CONNECTED: dict[str, Any] = {
    "vpc": Vpc(network="backend", subnet="backend-eu", egress="all-traffic", tags=("worker", "eu")),
    "cloud_sql": ("some-project:europe-west1:orders",),
    "cloud_trace": ("api", "worker", "dead-letters"),
    "kms_key": "projects/keys/locations/europe-west1/keyRings/shop/cryptoKeys/tasks",
}
#: One of the project, one of another.
ACCOUNTS = {
    "worker": "orders@some-project.iam.gserviceaccount.com",
    "dead-letters": "orders@some-project.iam.gserviceaccount.com",
    "api": "orders@identities.iam.gserviceaccount.com",
}
CHOICES: Mapping[str, dict[str, Any]] = {
    "pools": {"channel": CHANNEL},
    "jobs": {"workers": "job", "public": True, "origins": ("https://example.com",)},
    "autoscaler": {"autoscale": True, "own_accounts": ACCOUNTS},
    "console": {"console": CONSOLE},
    "own console": {"console": CONSOLE, "own_accounts": {"console": ACCOUNTS["api"]}},
    "connected pools": {**CONNECTED, "own_labels": {"team": "shop"}},
    "connected jobs": {"workers": "job", "own_accounts": ACCOUNTS, **CONNECTED},
    "preview": {"name": "shop-pr-1", "family": "shop-pr", "stage": "pr-1"},
}


def resources(topology: Topology, options: Options) -> tuple[Resource, ...]:
    tracks = ReleaseTracks(pool_policies=True)
    return desired.resources(
        topology, options=options, tracks=tracks, project_number=PROJECT_NUMBER, tag="src-1", image=IMAGE
    )


def declared(**choices: Any) -> tuple[Topology, Options]:
    topology = parse(PIPELINE)
    return topology, dataclasses.replace(Options.declared(topology, project="some-project"), **choices)


def written(**choices: Any) -> dict[str, str]:
    topology, options = declared(**choices)
    return configuration.files(configuration.write(resources(topology, options), options), options)


@functools.cache
def parsed(text: str) -> Mapping[str, Any]:
    """What the parser reads in a file; it takes a while."""
    return hcl2.loads(text)


def blocks(files: Mapping[str, str], kind: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Type, name and body of each block of a kind, as the parser reads the files."""
    for text in files.values():
        for block in parsed(text).get(kind, ()):
            for type_, named in block.items():
                for name, body in named.items():
                    yield type_.strip('"'), name.strip('"'), body


def problems(body: Mapping[str, Any], node: Mapping[str, Any], path: str) -> Iterator[str]:
    """What the provider's schema does not allow."""
    names = {name for name in body if name != "__is_block__"} - META
    for name in sorted(names):
        value = body[name]
        is_block = (
            isinstance(value, list)
            and bool(value)
            and all(isinstance(item, dict) and item.get("__is_block__") for item in value)
        )
        if is_block and name in node["blocks"]:
            for item in value:
                yield from problems(item, node["blocks"][name], f"{path}.{name}")
        elif is_block or name not in node["attributes"]:
            yield f"{path}: {'block' if is_block else 'attribute'} {name} is not in the schema"
        else:
            yield from wrong_type(value, node["attributes"][name], f"{path}.{name}")
    yield from (f"{path}: {name} is missing" for name in node["required"] if name not in names)


def wrong_type(value: Any, kind: str, path: str) -> Iterator[str]:
    """A literal of another type than the attribute's; expressions are the parser's strings without quotes."""
    if isinstance(value, str) and not value.startswith('"'):
        return
    right = {
        "string": isinstance(value, str),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "stringMap": isinstance(value, dict) and "__is_block__" not in value,
        "stringList": isinstance(value, list),
        "numberList": isinstance(value, list),
    }[kind]
    if not right:
        yield f"{path}: {value!r} is no {kind}"


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_every_block_is_as_the_providers_schema_has_it(choices: dict[str, Any]) -> None:
    files = written(**choices)
    found = []
    for type_, name, body in blocks(files, "resource"):
        found += problems(body, TYPES[type_], f"{type_}.{name}")
    for type_, name, body in blocks(files, "data"):
        found += problems(body, TYPES[f"data_{type_}"], f"data.{type_}.{name}")
    assert found == []


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_every_reference_is_to_a_block_that_is_there_once(choices: dict[str, Any]) -> None:
    files = written(**choices)
    there = [f"{type_}.{name}" for type_, name, _ in blocks(files, "resource")]
    there += [f"data.{type_}.{name}" for type_, name, _ in blocks(files, "data")]
    assert len(there) == len(set(there)) > 50
    without_strings = re.sub(r'"(?:[^"\\]|\\.)*"', lambda found: " ".join(re.findall(r"(?<!\$)\$\{(.*?)\}", found[0])),
                             "\n".join(files.values()))  # fmt: skip
    named = set(re.findall(r"\b(?:data\.)?google_\w+\.\w+", without_strings))
    assert named
    assert named <= set(there)


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_what_a_deploy_makes_and_terraform_makes_are_the_same_things(choices: dict[str, Any]) -> None:
    topology, options = declared(**choices)
    wanted = resources(topology, options)
    made = configuration.write(wanted, options)
    assert {item.resource.id for item in made} == {
        item.id for item in wanted if item.kind not in configuration.NOT_WRITTEN
    }
    assert all(item.pieces or not any(item.resource.wanted.values()) for item in made)
    members = sum(len(body["for_each"]) for type_, _, body in blocks(written(**choices), "resource")
                  if type_.endswith("_iam_member"))  # fmt: skip
    granted = [item.wanted.values() for item in wanted if item.kind == "grants"]
    assert members == sum(len(each) for roles in granted for each in roles if isinstance(each, tuple))


def test_every_kind_of_resource_has_a_form() -> None:
    folder = Path(next(iter(kinds.__path__)))
    words = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="Resource"), keywords=keywords):
                    values = [word.value for word in keywords if word.arg == "kind"]
                    words |= {value.value for value in values if isinstance(value, ast.Constant)}
                case ast.Call(
                    func=ast.Name(id="resource") | ast.Attribute(attr="resource"),
                    args=[ast.Constant(value=str(word)), *_],
                ):
                    words.add(word)
    assert words == {*configuration.FORMS, *configuration.NOT_WRITTEN}


def test_a_kind_without_a_form_and_a_flag_that_no_form_reads_are_errors() -> None:
    topology, options = declared()
    wanted = resources(topology, options)
    with pytest.raises(CloudError, match="unheard-of/x: its kind has no Terraform form"):
        configuration.write((*wanted, dataclasses.replace(wanted[0], kind="unheard-of", name="x")), options)
    (topic,) = (item for item in wanted if item.id == "topic/shop-mail")
    more = dataclasses.replace(topic, create=(command(*topic.create[0].arguments, "--message-storage-policy=x"),))
    with pytest.raises(CloudError, match="topic/shop-mail: no Terraform form for --message-storage-policy"):
        configuration.write([more if item is topic else item for item in wanted], options)


def test_what_is_written_is_the_same_each_time_and_says_what_was_declared() -> None:
    files = written()
    assert files == written()
    assert 'value = "$${oops} %%{if x}"' in files["run.tf"]
    assert 'version = "3"' in files["run.tf"]
    assert "data.google_secret_manager_secret.token.secret_id" in files["run.tf"]
    assert "secret_data" not in "".join(files.values())
    assert "${data.google_project.this.number}.europe-west1.run.app/schedules/nightly:due" in files["scheduler.tf"]
    assert PROJECT_NUMBER not in "".join(files.values())
    assert "image = var.image" in re.sub(" +", " ", files["run.tf"])
    assert "ignore_changes = [scaling]" in written(autoscale=True)["run.tf"]
    assert "ignore_changes" not in files["run.tf"]


def test_the_proxy_is_before_the_console_alone_and_people_are_written_as_they_are_declared() -> None:
    outputs, files = written()["outputs.tf"], written(console=CONSOLE)
    assert "console_url" not in outputs
    assert files["outputs.tf"].startswith(outputs)
    assert "google_cloud_run_v2_service.console.uri" in files["outputs.tf"]
    bodies = {f"{type_}.{name}": body for type_, name, body in blocks(files, "resource")}
    assert bodies["google_cloud_run_v2_service.console"]["iap_enabled"] is True
    assert "iap_enabled" not in bodies["google_cloud_run_v2_service.api"]
    opens = bodies["google_iap_web_cloud_run_service_iam_member.console_iap_httpsresourceaccessor"]
    assert sorted(value.strip('"') for value in opens["for_each"].values()) == sorted(CONSOLE.members)
    assert "data.google_project.this.number}/locations/europe-west1/services/shop-console" in files["run.tf"]


def test_imports_are_of_what_exists_and_of_nothing_else() -> None:
    topology, options = declared()
    made = configuration.write(resources(topology, options), options)
    assert configuration.imports(made, {}) == ""
    by_id = {item.resource.id: item.resource for item in made}
    worker = "shop-worker@some-project.iam.gserviceaccount.com"
    snapshot = {
        by_id["topic/shop-mail"].read.arguments: [{"name": "projects/some-project/topics/shop-mail"}],
        by_id["grants/topic/shop-mail"].read.arguments: {
            "bindings": [{"role": "roles/pubsub.publisher", "members": [f"serviceAccount:{worker}", "user:a@b.c"]}]
        },
        by_id["apis/some-project"].read.arguments: [{"config": {"name": "run.googleapis.com"}}],
    }
    found = {
        str(block["to"]).strip("${}"): str(block["id"]).strip('"')
        for block in hcl2.loads(configuration.imports(made, snapshot))["import"]
    }
    assert found == {
        "google_pubsub_topic.mail": "projects/some-project/topics/shop-mail",
        'google_pubsub_topic_iam_member.mail_pubsub_publisher["worker"]': (
            f"projects/some-project/topics/shop-mail roles/pubsub.publisher serviceAccount:{worker}"
        ),
        'google_project_service.this["run.googleapis.com"]': "some-project/run.googleapis.com",
    }
