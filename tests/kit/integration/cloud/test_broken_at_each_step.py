"""A deploy that fails at each of its steps in turn: run again, it goes on, and ends where an undisturbed one does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.rehearsal.control_plane import Logged
from poolhouse.cloud.rehearsal.faults import Fault
from poolhouse.cloud.rehearsal.http import Request
from poolhouse.cloud.rehearsal.simulation import PROJECT, simulate
from poolhouse.cloud.rehearsal.state import State
from tests.kit.integration.cloud.rehearsal import PIPELINE, Rehearsal, make_root

pytestmark = pytest.mark.usefixtures("gcloud_program")

STAGES = f"{PIPELINE}\n[stages.one]\n[stages.two]\n"
#: What Google gives out anew each time.
VOLATILE = re.compile(
    r"(?i)etag|\w*id|\w*time(stamp)?|timeCreated|\w*generation|updated|resourceVersion|.*/nonce|revision"
)
#: The same in a text: revisions of services and of dashboards, numbers of alerts, digests of images.
VOLATILE_TEXT = re.compile(r"\balertPolicies/\d+|-\d{5}-\w{3}\b|\brevision-[0-9a-f]{12}\b|\bsha256:[0-9a-f]{64}\b")
#: What the first stage of a project makes for all of them.
NOTE = "POST containeranalysis.googleapis.com/v1/projects/*/notes"


def kind(request: Request | Logged) -> str:
    """What a request does, whichever resource it does it to; empty where it changes nothing."""
    if request.method == "GET" or request.path.endswith(":getIamPolicy"):
        return ""
    return f"{request.method} {request.host}" + re.sub(rf"[^/:]*(shop|{PROJECT})[^/:]*", "*", request.path)


@dataclass
class OncePerKind(Fault):
    """Fails the first request of each kind.

    What makes something is carried out and its answer lost, so that the next deploy meets what it does not know of; the
    rest is refused.
    """

    match: str = ""
    status: str = "PERMISSION_DENIED"
    message: str = "broken on purpose"
    struck: set[str] = field(default_factory=set)

    def hits(self, request: Request, *, after: bool) -> bool:
        this = kind(request)
        lost = request.method in {"POST", "PUT"} and ":" not in this and not this.endswith("/iam")
        if not this or this in self.struck or after != lost:
            return False
        self.struck.add(this)
        return True


def of(state: State, stage: str) -> dict[str, Any]:
    """The resources of a stage and their policies, under names that are the same for each."""
    found: dict[str, Any] = {}
    for name, item in state.items.items():
        if name.startswith(("cloudbuild/", "containeranalysis/")) or f"shop-{stage}" not in f"{name} {item}":
            continue
        called = item["displayName"] if "/alertPolicies/" in name else name
        found[plain(called, stage)] = (comparable(item, stage), comparable(state.policies.get(name, {}), stage))
    return found


def comparable(value: Any, stage: str, *, key: str = "") -> Any:
    """The same value for every stage, without what Google gives out anew; policies have no order."""
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if not VOLATILE.fullmatch(name)}
        return {plain(name, stage): comparable(each, stage, key=name) for name, each in kept.items()}
    if isinstance(value, list):
        found = [comparable(each, stage) for each in value]
        return sorted(found, key=repr) if key in {"bindings", "members"} else found
    return plain(value, stage) if isinstance(value, str) else value


def plain(text: str, stage: str) -> str:
    return "STAGE" if text == stage else VOLATILE_TEXT.sub("", re.sub(f"shop([-_]){stage}", "shop", text))


def test_a_deploy_that_fails_at_each_step_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    (root / "pipeline.toml").write_text(STAGES)
    with simulate() as running:
        state, log, rehearsal = running.control_plane.state, running.control_plane.log, Rehearsal(running, root)
        broken = OncePerKind()
        state.faults.faults = [broken]
        with pytest.raises(CloudError, match="broken on purpose"):
            rehearsal.deploy(stage="one")
        # The other stage is deployed meanwhile: to be compared with the first, and to be left alone by it.
        state.faults.faults, begun = [], len(log)
        rehearsal.deploy(stage="two")
        kinds, undisturbed = {kind(entry) for entry in log[begun:]} - {"", NOTE}, of(state, "two")
        assert len(undisturbed) > 25
        state.faults.faults, deployed = [broken], len(log)
        failed, work = 0, True
        while work:
            known = len(broken.struck)
            try:
                work = bool(rehearsal.deploy(stage="one").plan.work)
            except CloudError:
                failed += 1
                assert len(broken.struck) > known  # what failed once does not fail again
        assert failed >= 5
        assert broken.struck >= kinds
        assert not [entry for entry in log[deployed:] if kind(entry) and "shop-two" in entry.path]
        assert of(state, "two") == undisturbed
        assert of(state, "one") == undisturbed
        assert running.control_plane.bugs == []
