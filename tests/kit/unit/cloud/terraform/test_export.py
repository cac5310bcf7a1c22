"""The folder of an export, and the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.options import Options
from poolhouse.cloud.terraform import export
from poolhouse.cloud.terraform.export import Exported
from poolhouse.commands.export import command
from poolhouse.pipeline.config.topology import parse
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT


def exported(pipeline: str = 'name = "shop"\n[queues.mail]\n') -> Exported:
    topology = parse(pipeline)
    return export.offline(topology, options=Options.declared(topology, project="some-project"), root=ROOT)


def test_an_export_takes_the_place_of_the_one_before_and_leaves_other_files_alone(tmp_path: Path) -> None:
    folder = tmp_path / "terraform"
    triggers = '[triggers.t]\nprefix = "uploads/in/"\ntask_type = "t"\n'
    export.save(exported(f'name = "shop"\n[queues.mail]\n{triggers}'), folder)
    (folder / "backend.tf").write_text('terraform {\n  backend "gcs" {}\n}\n')
    assert (folder / "notifications.tf").is_file()
    export.save(exported(), folder)
    assert not (folder / "notifications.tf").exists()
    assert (folder / "backend.tf").is_file()
    assert {path.name for path in folder.glob("*.tf")} == {
        "accounts.tf", "apis.tf", "backend.tf", "grants.tf", "monitoring.tf", "outputs.tf", "providers.tf", "pubsub.tf",
        "registry.tf", "run.tf", "scheduler.tf", "storage.tf", "variables.tf",
    }  # fmt: skip


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "providers.tf").write_text("mine\n")
    with pytest.raises(CloudError, match=r"has providers\.tf, which no export has written: choose another --folder"):
        export.save(exported(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["providers.tf"]
    assert (tmp_path / "providers.tf").read_text() == "mine\n"


def test_the_readme_names_what_is_not_in_the_files() -> None:
    text = exported('name = "shop"\n[secrets]\nTOKEN = "latest"\n[queues.mail]\n').files["README.md"]
    assert "gcloud builds submit SOURCES --region=europe-west1 --config=cloudbuild.json" in text
    image = "europe-west1-docker.pkg.dev/some-project/shop/shop@sha256:DIGEST"
    assert f"gcloud artifacts sbom load --source=sbom.cdx.json --uri={image} --destination=gs://" in text
    assert "./invoke secret set TOKEN --project some-project" in text
    assert "./invoke e2e --project some-project" in text


def test_options_of_one_export_are_refused_by_another() -> None:
    with pytest.raises(ConfigError, match="use --folder instead of --file"):
        command.run(what="terraform", stage="", file="x")
    with pytest.raises(ConfigError, match="are for `export terraform`"):
        command.run(what="grafana", stage="", file="", folder="x")
    with pytest.raises(
        ConfigError, match=r"no export 'teraform' \(exports: grafana, prometheus-rules, sbom, terraform\)"
    ):
        command.run(what="teraform", stage="", file="")


def test_the_command_writes_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert command.run(what="terraform", stage="", file="", folder=str(folder), project="some-project") == 0
    assert f"files to {folder}/" in capsys.readouterr().out
    assert "google_cloud_run_v2_service" in (folder / "run.tf").read_text()
