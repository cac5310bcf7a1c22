"""The pages of files, over the API's own bucket."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from poolhouse.local.console.app import create_app
from poolhouse.local.console.files.bucket import ApiBucket
from poolhouse.local.console.stacks import Deployed
from tests.kit.unit.local.console.conftest import HOST, Shown, words

PNG = b"\x89PNG\r\n\x1a\n" + bytes(3000)
HOSTILE = 'uploads/a "b"/<img src=x>&?#%2e\'.html'


def put(shown: Shown, name: str, data: bytes = b"data", content_type: str = "text/html") -> None:
    shown.served.store.put(name, data, content_type=content_type)


def test_the_bucket_is_browsed_folder_by_folder(shown: Shown) -> None:
    for name in ("uploads/2026/a.csv", "uploads/2026/march/b.csv", "uploads/c.csv", "exports/d.csv"):
        put(shown, name)
    top = shown.text("/files")
    assert "uploads/ files that clients sent" in top
    assert "exports/" in top
    assert "c.csv" not in top
    folder = shown.page("/files?prefix=uploads/2026/")
    assert "/files/object?name=uploads%2F2026%2Fa.csv" in folder
    assert "/files?prefix=uploads/2026/march/" in folder
    assert "b.csv" not in folder
    assert "Nothing lies below" in shown.page("/files?prefix=none/")


def test_a_hostile_name_is_text_and_leads_to_its_file(shown: Shown) -> None:
    put(shown, HOSTILE, b"<script>alert(1)</script>")
    folder = HOSTILE.rpartition("/")[0] + "/"
    listed = shown.client.get("/files", params={"prefix": folder}).text
    assert "<img src=x" not in listed
    href = re.search(r'href="(/files/object[^"]*)"', listed)
    assert href is not None
    page = shown.page(href[1].replace("&amp;", "&"))
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


def test_half_a_surrogate_pair_is_shown_as_json_writes_it_and_names_no_file(shown: Shown) -> None:
    put(shown, "uploads/a.json", b'{"\\ud800": "uploads/\\udfff"}')
    page = shown.page("/files/object?name=uploads/a.json")
    assert "\\ud800" in page
    assert "uploads/\\udfff" in page
    assert "uploads%2F%" not in page


def test_a_file_is_downloaded_as_bytes_under_its_name(shown: Shown) -> None:
    put(shown, HOSTILE, b"x" * 2500)
    answer = shown.client.get("/files/download", params={"name": HOSTILE})
    assert answer.content == b"x" * 2500
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''%3Cimg%20src%3Dx%3E%26%3F%23%252e%27.html"
    )


def test_an_image_is_shown_and_its_bytes_are_served_in_a_sandbox(shown: Shown) -> None:
    put(shown, "uploads/a.html", PNG)
    assert '<img src="/files/raw?name=uploads/a.html"' in shown.page("/files/object?name=uploads/a.html")
    answer = shown.client.get("/files/raw?name=uploads/a.html")
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_pdf_is_framed_by_the_consoles_own_page_alone(shown: Shown) -> None:
    put(shown, "uploads/a.pdf", b"%PDF-1.7 ...")
    assert '<iframe class="pdf" src="/files/raw?name=uploads/a.pdf"' in shown.page("/files/object?name=uploads/a.pdf")
    answer = shown.client.get("/files/raw?name=uploads/a.pdf")
    assert answer.headers["content-type"] == "application/pdf"
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert "frame-ancestors 'none'" in shown.client.get("/files").headers["content-security-policy"]


@pytest.mark.parametrize("data", [b"<svg/>", b"<html>", b"", b"text"])
def test_what_is_no_image_is_never_served_as_one(shown: Shown, data: bytes) -> None:
    put(shown, "uploads/a.svg", data, "image/svg+xml")
    assert "download it" in shown.text("/files/raw?name=uploads/a.svg", status=415)


@pytest.mark.parametrize("path", ["object", "raw", "download"])
def test_a_file_that_is_not_there_is_a_page_that_says_so(shown: Shown, path: str) -> None:
    assert "Not found" in shown.text(f"/files/{path}?name=uploads/none", status=404)
    assert shown.page(f"/files/{path}", status=404)


def test_a_file_leads_to_the_forms_of_the_types_that_take_one(shown: Shown) -> None:
    put(shown, "uploads/a b/c.csv")
    page = shown.page("/files/object?name=uploads/a%20b/c.csv")
    address = "/submit/file_processing?field%3Afilename=a+b%2Fc.csv"
    assert address in page
    assert "Process with file_processing" in page
    assert 'value="a b/c.csv"' in shown.page(address)
    put(shown, "processed/c.csv")
    assert "Process with" not in shown.page("/files/object?name=processed/c.csv")


def test_an_upload_that_the_api_refuses_is_told_by_its_reason(shown: Shown) -> None:
    answer = shown.client.post(
        "/files/upload",
        files=[("file", ("a.csv", b"data"))],
        data={"folder": "../up"},
        headers={"Origin": f"http://{HOST}"},
    )
    assert "a.csv was not uploaded" in words(answer.text)
    assert "Choose a file first." in shown.text(shown.post("/files/upload", folder=""))


def test_a_foreign_page_can_upload_nothing(shown: Shown) -> None:
    answer = shown.client.post("/files/upload", files=[("file", ("a", b""))], headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_a_deployed_pipeline_shows_the_files_that_its_api_gives_out_and_says_why_no_others(shown: Shown) -> None:
    put(shown, "processed/made.json", b'{"rows": 7}', "application/json")
    put(shown, "uploads/a.png", PNG)
    there = Deployed("some-project", shown.served.api.url, lambda: "token", log_filter="x")
    with TestClient(create_app(there), base_url=f"http://{HOST}", raise_server_exceptions=False) as browser:
        page = browser.get("/files")
        assert page.status_code == 200
        assert "lists no files" in page.text
        assert 'action="/files/object"' in page.text
        assert '"rows"' in words(browser.get("/files/object?name=processed/made.json").text).replace("&#34;", '"')
        assert browser.get("/files/raw?name=uploads/a.png").content == PNG
        assert browser.get("/files/object?name=uploads/none").status_code == 404
        answer = browser.get("/files/object?name=results/x.json")
        assert (answer.status_code, "gcloud storage cat" in answer.text) == (404, True)


def test_of_a_large_file_a_deployed_console_reads_the_beginning_alone(shown: Shown) -> None:
    put(shown, "uploads/large.txt", b"x" * 3_000_000, "text/plain")
    with ApiBucket(shown.served.api).open("uploads/large.txt") as opened:
        assert opened.info.size_bytes == 3_000_000
        assert opened.head(1000) == b"x" * 1000
        assert len(b"".join(opened.pieces)) < 3_000_000
