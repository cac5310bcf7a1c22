"""What the locked packages are asked about, and the image's bill of materials."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from poolhouse.cloud import image, sbom
from poolhouse.commands.project import audit
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.image_digests import DIGESTS
from poolhouse.project import ROOT

LOCK = """\
Some_Package==1.2 \\
    --hash=sha256:00
for-windows==1 ; sys_platform == 'win32' \\
    --hash=sha256:00
for-newer==2 ; python_full_version >= '3.12' \\
    --hash=sha256:00
for-us==3 ; platform_python_implementation == 'CPython' and sys_platform == 'linux' \\
    --hash=sha256:00
from-a-link @ https://example.com/x-1.0-py3-none-any.whl \\
    --hash=sha256:00
"""


#: An image of a registry that is named in full, in any file.
IN_FULL = re.compile(
    r"(?<![\w{}/.-])(?:[a-z0-9-]+\.)*(?:gcr\.io|docker\.io|quay\.io|ghcr\.io|[a-z0-9-]+-docker\.pkg\.dev)/[a-z0-9][\w./:@-]*\w"
)
#: The images of Dockerfiles, Compose files and workflows, those of Docker Hub too.
DECLARED = re.compile(
    r"(?:^FROM |^ARG \w*IMAGE=|^\s*image: (?:&\w+ )?|^\s*container: |\$\{\w*IMAGE:-)[\"']?([a-z][\w./:@-]*)",
    re.MULTILINE,
)
#: Stands for the images that are built here, whose names end in the Compose project's.
BUILT = re.compile(r"poolhouse(-pubsub|-setup)?:")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY requirements.lock .\n")
    (tmp_path / "requirements.lock").write_text(LOCK)
    (tmp_path / "requirements-dev.lock").write_text(LOCK)
    (tmp_path / "apt.txt").write_text("# tools\nghostscript  # PDFs\npoppler-utils\nqrencode=4.1.1-1\n")
    return tmp_path


def test_every_lock_file_is_audited_as_it_is_by_one_version_of_the_auditor(shop: Path) -> None:
    words = audit.command(shop, ["--ignore-vuln", "PYSEC-1"])
    named = [words[at + 1] for at, word in enumerate(words) if word == "--requirement"]
    assert named == ["requirements-dev.lock", "requirements.lock"]
    assert "--disable-pip" in words  # nothing is resolved anew
    assert re.fullmatch(r"pip-audit==[0-9.]+", words[words.index("--from") + 1])
    assert words.index("--exclude-newer") < words.index("pip-audit")  # it is uv's: the auditor's own packages
    assert words[-2:] == ("--ignore-vuln", "PYSEC-1")


def test_a_project_that_was_never_locked_is_told_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="invoke lock"):
        audit.command(tmp_path)


def test_the_bill_names_what_is_in_the_image_and_not_what_other_systems_or_pythons_get(shop: Path) -> None:
    made = sbom.document(shop, name="shop")
    base, *packages = made["components"]
    assert [part["purl"] for part in packages] == [
        "pkg:pypi/some-package@1.2",
        "pkg:pypi/for-us@3",
        "pkg:pypi/from-a-link?download_url=https%3A%2F%2Fexample.com%2Fx-1.0-py3-none-any.whl",
        "pkg:deb/debian/ghostscript",
        "pkg:deb/debian/poppler-utils",
        "pkg:deb/debian/qrencode@4.1.1-1",
    ]
    assert base["type"] == "container"
    assert image.BASE_IMAGE.endswith(base["hashes"][0]["content"])
    assert made["metadata"]["component"]["version"] == image.tag(shop)
    references = [part["bom-ref"] for part in made["components"]]
    assert made["dependencies"] == [{"ref": "image", "dependsOn": references}]
    assert len({*references, "image"}) == len(references) + 1


def test_every_public_image_has_a_digest_or_the_page_says_why_not() -> None:
    files = [ROOT / "Dockerfile", ROOT / "docker-compose.yml", *(ROOT / ".github").rglob("*.yml")]
    files += [path for path in (ROOT / "poolhouse").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    named = set[str]()
    for path in files:
        text = path.read_text(encoding="utf-8", errors="ignore")
        stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
        named.update(IN_FULL.findall(text), () if path.suffix == ".py" else {*DECLARED.findall(text)} - stages)
    public = {name for name in named if not BUILT.match(name)}
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## Images of others")[2]
    rows = dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", page.partition("\n## ")[0], re.MULTILINE))
    assert {name for name, by in rows.items() if by.startswith("digest")} == DIGESTS.keys()
    assert public == rows.keys(), "name it in docs/security.md, Images of others; its digest in image_digests.py"


def test_every_digest_is_one() -> None:
    assert [digest for digest in DIGESTS.values() if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest)] == []
    assert sbom.document(ROOT, name="poolhouse")["components"][0]["hashes"][0]["content"] in str(DIGESTS)


def test_the_same_sources_have_the_same_bill_and_others_have_another(shop: Path) -> None:
    first = json.dumps(sbom.document(shop, name="shop"))
    assert json.dumps(sbom.document(shop, name="shop")) == first
    (shop / "requirements.lock").write_text(LOCK.replace("for-us==3", "for-us==4"))
    assert json.loads(first)["serialNumber"] != sbom.document(shop, name="shop")["serialNumber"]


def test_a_lock_file_that_can_not_be_read_is_named(shop: Path) -> None:
    (shop / "requirements.lock").write_text("what is this\n")
    with pytest.raises(ConfigError, match=r"requirements\.lock: 'what is this' is no requirement"):
        sbom.document(shop, name="shop")


def test_an_image_that_is_made_from_no_lock_file_has_no_bill(shop: Path) -> None:
    (shop / "Dockerfile").write_text("FROM scratch\nCOPY apt.txt .\n")
    with pytest.raises(ConfigError, match=r"Dockerfile copies no requirements\.lock"):
        sbom.document(shop, name="shop")


def test_the_bill_is_of_a_version_that_artifact_analysis_takes(shop: Path) -> None:
    assert sbom.document(shop, name="shop")["specVersion"] in {"1.4", "1.5"}


def test_the_bill_of_this_repository_has_every_package_that_its_image_imports() -> None:
    names = {part["name"] for part in sbom.document(ROOT, name="poolhouse")["components"]}
    assert {"python", "fastapi", "google-cloud-pubsub", "google-cloud-storage", "uvloop"} <= names
    assert "httpx2-jsfetch" not in names  # for WebAssembly
