"""`python -m local.samples.make`: writes the sample files anew, the same each time."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import struct
import zlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

FOLDER = Path(__file__).parent / "files"
ORDERS, EVENTS = 3000, 400
_SEED = 20261124
_CITIES = ("Berlin", "Kraków", "Lisboa", "Oslo", "São Paulo", "Zürich")
_CATEGORIES = ("books", "games", "garden", "kitchen", "music")
_TEXT = """\
Notes on the pool house

The pool house stands at the far end of the garden, behind the old pear tree. Its keeper, Mrs Grün, has one rule:
whoever takes a towel brings it back. When nobody is about, she writes down who came, when they left, and what
they forgot.

Monday: two swimmers, three towels. The third one was for the dog.
Tuesday: rain since daybreak; nobody but the plumber, who fixed the pump twice, since the first time did not count.
Wednesday: a school class of twenty-four. Twenty-five towels came back, which had never happened before.
Thursday: closed. Water changed — 480 m³, filtered, 26 °C by the evening.

“A queue,” she says, “is nothing to be afraid of. You look who is first, and what they want,
and you write it down.”
"""
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><title>Towels &amp; rules</title><style>h1 { color: navy }</style></head>
<body>
<script>document.title = "not for readers"</script>
<h1>Towels</h1>
<p>Whoever takes a towel
brings it back, <b>dry</b>.</p>
<ul><li>one each<li>two for the dog</ul>
</body>
</html>
"""
#: What a reader of the page sees, a line each.
PAGE_TEXT = """\
Towels & rules
Towels
Whoever takes a towel brings it back, dry.
one each
two for the dog
"""
PAPER_TITLE = "The pool in winter"
#: The text of each page of the document.
PAPER = ("The pool is drained in November.", "It is filled again when the pear tree blossoms.")


def files() -> dict[str, bytes]:
    """The sample files by name."""
    return {
        "orders.csv": _orders().encode(),
        "notes.txt": _TEXT.encode(),
        "tiles.png": _png(48, 32),
        "page.html": _PAGE.encode(),
        "paper.pdf": _pdf(),
        "events.ndjson.gz": gzip.compress(_events().encode(), mtime=0),
    }


def _orders() -> str:
    chance = random.Random(_SEED)
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(("order_id", "placed_on", "city", "category", "quantity", "unit_price", "discount", "note"))
    for number in range(1, ORDERS + 1):
        writer.writerow(
            (
                number,
                date(2026, 1, 1) + timedelta(days=chance.randrange(300)),
                chance.choice(_CITIES),
                chance.choice(_CATEGORIES),
                chance.randint(1, 12),
                f"{chance.uniform(1, 250):.2f}",
                f"{chance.choice((5, 10, 15)) / 100:.2f}" if chance.random() < 0.3 else "",
                chance.choice(("", "", "", 'gift, "with a ribbon"', "leave at the door", "ring\ntwice")),
            )
        )
    return output.getvalue()


def _events() -> str:
    chance = random.Random(_SEED + 1)
    at = datetime(2026, 11, 1, 6, 0, tzinfo=UTC)
    lines = []
    for number in range(EVENTS):
        at += timedelta(seconds=chance.randint(1, 900))
        event = {
            "id": number,
            "at": at.isoformat(),
            "kind": chance.choice(("enter", "leave", "towel")),
            "guest": chance.randint(1, 60),
        }
        lines.append(json.dumps(event))
    return "\n".join(lines) + "\n"


def _png(width: int, height: int) -> bytes:
    """Blue and white tiles; RGB, 8 bits. PNG specification, chapters 5 and 9."""
    rows = b"".join(
        b"\0" + b"".join(b"\x1f\x6f\xbf" if (x // 8 + y // 8) % 2 else b"\xf4\xf8\xfc" for x in range(width))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _pdf() -> bytes:
    """A page for each text of `PAPER`. ISO 32000-1, 7.5 (file structure), 7.7 (document structure), 9.4 (text)."""
    pages = range(4, 4 + 2 * len(PAPER), 2)
    kids = " ".join(f"{number} 0 R" for number in pages)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(PAPER)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in zip(pages, PAPER, strict=True):
        drawn = f"BT /F1 12 Tf 40 100 Td ({text}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 200] /Contents {number + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream",
        ]
    objects.append(f"<< /Title ({PAPER_TITLE}) >>")
    data, offsets = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{text}\nendobj\n".encode()
    entries = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>"
    end = (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{entries}trailer\n{trailer}\nstartxref\n{len(data)}\n%%EOF\n"
    )
    return data + end.encode()


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for name, data in files().items():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()
