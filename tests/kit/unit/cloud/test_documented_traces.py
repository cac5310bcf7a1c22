"""docs/traces.md: its declarations are ones, and do what the page says."""

from __future__ import annotations

import re

from poolhouse.cloud.options import Options
from poolhouse.pipeline.config.topology import parse
from poolhouse.project import ROOT


def test_each_declaration_on_the_page_sends_the_spans_of_all_parts_to_cloud_trace() -> None:
    page = (ROOT / "docs" / "traces.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.S)
    assert len(blocks) == 2
    for block in blocks:
        options = Options.declared(parse(f"{block}\n[queues.mail]"), project="some-project")
        assert options.cloud_trace == ("api", "worker", "dead-letters")
