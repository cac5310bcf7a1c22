from __future__ import annotations

import json

import pytest

from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.options import Options
from poolhouse.cloud.releases import choose, packages, parse, text
from poolhouse.cloud.resource import Command, Read

LISTING = [
    {"version": f"sha256:{number:064d}", "tags": tags, "updateTime": f"2026-11-{number:02d}T10:00:00.5Z"}
    for number, tags in ((1, ["src-a"]), (3, "src-c, other"), (2, "src-b"), (4, ["src-d"]), (5, []))
]
RELEASES = parse(LISTING, running={f"region-docker.pkg.dev/p/shop/shop@sha256:{3:064d}": 100})


def test_releases_are_the_tagged_images_newest_first() -> None:
    assert [(release.tag, release.share) for release in RELEASES] == [
        ("src-d", 0),
        ("src-c", 100),
        ("src-b", 0),
        ("src-a", 0),
    ]
    assert [line.split()[-1] == "runs" for line in text(RELEASES).splitlines()[1:]] == [False, True, False, False]


@pytest.mark.parametrize(("wanted", "tag"), [("1", "src-b"), ("2", "src-a"), ("src-d", "src-d")])
def test_one_is_named_by_its_distance_from_what_runs_or_by_its_tag(wanted: str, tag: str) -> None:
    assert choose(RELEASES, wanted).tag == tag


@pytest.mark.parametrize("wanted", ["0", "3", "src-x", "-1", ""])
def test_what_is_not_there_is_reported(wanted: str) -> None:
    with pytest.raises(CloudError, match="invoke releases"):
        choose(RELEASES, wanted)


def test_where_something_else_runs_only_a_tag_says_what_is_meant() -> None:
    with pytest.raises(CloudError, match="by its tag"):
        choose(parse(LISTING, running={"image@sha256:other": 100}), "1")


def test_before_the_first_deploy_there_is_none() -> None:
    assert "first" in text(parse(None, running={}))


@pytest.mark.parametrize(
    ("listed", "document", "found"),
    [
        ([], None, None),
        (["other"], {"components": [{"name": "jinja2"}]}, None),
        (["other", "image"], {"components": [{"name": "jinja2"}, {"name": "x"}]}, {"jinja2", "x"}),
        (["image"], None, None),  # the file can't be read
    ],
)
def test_what_is_in_an_image_is_known_by_its_bill_of_materials(
    listed: list[str], document: object, found: set[str] | None
) -> None:
    def occurrence(name: str) -> dict[str, object]:
        predicate = {"location": f"gs://build/sbom/{name}.json"}
        return {"occ": {"resourceUri": f"https://{name}", "sbomReference": {"payload": {"predicate": predicate}}}}

    class Gcloud:
        def read(self, read: Read) -> object:
            assert read.arguments[:3] == ("artifacts", "sbom", "list")
            return [occurrence(name) for name in listed]

        def run(self, command: Command) -> str:
            assert command.arguments == ("storage", "cat", "gs://build/sbom/image.json")
            if document is None:
                raise GcloudFailed("gcloud storage cat", "ERROR: matched no objects or files")
            return json.dumps(document)

    options = Options(project="some-project", name="shop")
    assert packages(Gcloud(), "image", options=options) == found  # type: ignore[arg-type]
