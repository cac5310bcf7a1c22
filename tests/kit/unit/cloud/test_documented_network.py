"""docs/network.md: its declaration is one, and does what the page says."""

from __future__ import annotations

import re
import textwrap

from poolhouse.cloud.options import Options
from poolhouse.pipeline.config.topology import parse
from poolhouse.project import ROOT


def test_the_declaration_on_the_page_is_one_and_its_stage_changes_single_keys() -> None:
    page = (ROOT / "docs" / "network.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?:^    .*\n|^\n)+", page[page.index("    [deploy]") : page.index("    ./invoke")], re.M)
    text = textwrap.dedent(block)
    plain, prod = (Options.declared(parse(text, stage=stage)) for stage in ("", "prod"))
    assert plain.cloud_sql == prod.cloud_sql == ("some-project:europe-west1:orders",)
    assert plain.vpc is not None
    assert prod.vpc == plain.vpc.model_copy(update={"subnet": "backend-prod"})
    assert prod.own_labels == {**plain.own_labels, "stage": "prod"}


def test_the_accounts_on_the_page_are_those_of_the_parts_and_a_stage_has_others() -> None:
    page = (ROOT / "docs" / "network.md").read_text(encoding="utf-8")
    page = page[page.index("## Service accounts of your own") :]
    (block,) = re.findall(r"(?:^    .*\n|^\n)+", page[page.index("    [deploy") : page.index("names accounts")], re.M)
    text = f"{textwrap.dedent(block)}\n[queues.mail]"
    plain, prod = (Options.declared(parse(text, stage=stage), project="some-project") for stage in ("", "prod"))
    assert set(plain.own_accounts) == {"api", "worker"}
    assert prod.account("api") == plain.account("api")
    assert prod.account_path("worker").startswith("projects/prod-identities/serviceAccounts/orders-worker@")
