"""A file in work: what is known of it, what came of it so far, and each operation on it.

The modules for images and PDF, whose libraries take long to import, are imported where they are used.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from poolhouse.pipeline import names
from poolhouse.worker.context import TaskContext
from poolhouse.worker.errors import Reject
from worker.transforms.files import archives, html, text
from worker.transforms.files.hashes import Hashes
from worker.transforms.files.media import Kind, Media, sniff
from worker.transforms.files.operations import Compress, Convert, Decompress, ExtractText, Inspect, Operation, Thumbnail
from worker.transforms.files.report import ArchiveReport, FileReport
from worker.transforms.files.spool import READ_BYTES, Spooled, require_space, upload
from worker.transforms.files.tables import TableJob
from worker.transforms.tables.compression import Expanded
from worker.transforms.tables.opening import HEAD_BYTES, find_table, named_format
from worker.transforms.tables.signatures import is_tar
from worker.transforms.tables.writers import MEDIA_TYPES

_ENDINGS = {"gzip": ("gz", "gzip"), "zstd": ("zst", "zstd")}
_MEDIA_TYPES = {"gzip": "application/gzip", "zstd": "application/zstd"}
#: Kinds of files as refusals name them.
_TITLES: dict[Kind, str] = {
    "image": "PNG, JPEG, GIF, WebP, BMP or TIFF",
    "pdf": "PDF",
    "html": "HTML",
    "text": "text",
}


@dataclass(kw_only=True)
class Job:
    """One file; `run` its operations one after the other, then ask for the `report`."""

    ctx: TaskContext
    filename: str
    spooled: Spooled
    hashes: Hashes
    media: Media
    #: Scratch directory.
    directory: Path
    _sections: dict[str, Any] = field(default_factory=dict)
    _outputs: list[str] = field(default_factory=list)
    _transfer_s: float = 0.0
    _table: TableJob | None = None

    @property
    def _packed(self) -> str | None:
        return self.media.media_type.rpartition("/")[2] if self.media.kind == "compressed" else None

    @property
    def _is_table(self) -> bool:
        """A table, or a compressed file that holds one."""
        return self.media.kind == "table" or (self._packed is not None and self._inside.kind == "table")

    @cached_property
    def _inside(self) -> Media:
        """What a compressed file holds, where that is text; tables in Parquet can't be read from there."""
        name = self.filename if named_format(self.filename) else self._unpacked_name()
        inside = sniff(next(self._expanded(HEAD_BYTES), b""), name)
        return inside if inside.encoding else Media("other", inside.media_type)

    def fitting(self) -> list[Operation]:
        """All operations that fit the file, in the order they run in."""
        operations: list[Operation] = [Inspect()]
        if self.media.kind in {"text", "html", "tar"} or (self._is_table and not self._packed):
            operations.append(Compress())
        if self._packed:
            operations.append(Decompress())
        if self.media.kind == "image":
            operations.append(Thumbnail())
        if self.media.kind in {"pdf", "html"}:
            operations.append(ExtractText())
        if self._is_table and self._tables().default_format():
            operations.append(Convert())
        return operations

    def run(self, operation: Operation) -> None:
        """Do one operation. Raises `Reject` where it does not fit the file, or the file is broken."""
        if self.media.kind == "empty" and not isinstance(operation, Inspect):
            raise Reject(f"{operation.name}: {self.filename} is empty")
        match operation:
            case Inspect():
                self._inspect()
            case Compress():
                self._compress(operation)
            case Decompress():
                self._decompress()
            case Thumbnail():
                self._thumbnail(operation)
            case ExtractText():
                self._extract_text()
            case Convert():
                self._convert(operation)

    def report(self, operations: Sequence[Operation], *, duration_s: float) -> FileReport:
        """What is known by now."""
        return FileReport(
            filename=self.filename,
            simulated=False,
            operations=[operation.name for operation in operations],
            size_bytes=self.spooled.size_bytes,
            sha256=self.hashes.sha256,
            crc32c=self.hashes.crc32c,
            media_type=self.media.media_type,
            outputs=self._outputs,
            duration_s=duration_s,
            transfer_s=round(self.spooled.duration_s + self._transfer_s, 3),
            **({"encoding": self.media.encoding} | self._sections),
        )

    def _inspect(self) -> None:
        path = self.spooled.path
        if self._is_table:
            self._sections["table"] = self._tables().report()
        match self.media.kind:
            case "text" | "html":
                assert self.media.encoding is not None
                figures, encoding = text.count(path, self.media.encoding, self._pause("reading the text"))
                self._sections |= {"text": figures, "encoding": encoding}
            case "image":
                from worker.transforms.files import images  # noqa: PLC0415

                self._sections["image"] = images.inspect(path)
            case "pdf":
                from worker.transforms.files import pdfs  # noqa: PLC0415

                self._sections["pdf"] = pdfs.inspect(path, self.ctx.checkpoint)
            case "zip":
                self._sections["archive"] = archives.inspect_zip(path, self.ctx.checkpoint)
            case "tar":
                size_bytes = self.spooled.size_bytes
                self._sections["archive"] = archives.inspect_tar(path, self.ctx.checkpoint, archive_bytes=size_bytes)
            case "compressed":
                self._sections["archive"] = self._inspect_packed()

    def _inspect_packed(self) -> ArchiveReport:
        """What is inside: a tar's entries, or the one file."""
        assert self._packed is not None
        head = next(self._expanded(512), b"")
        if is_tar(head):
            tar = self._expanded_file()
            report = archives.inspect_tar(tar, self.ctx.checkpoint, archive_bytes=self.spooled.size_bytes)
            return report.model_copy(update={"format": f"tar+{self._packed}"})
        expanded_bytes = sum(len(piece) for piece in self._expanded(READ_BYTES))
        name = self._unpacked_name().rpartition("/")[2]
        return ArchiveReport(format=self._packed, entries=1, names=[name], expanded_bytes=expanded_bytes)

    def _compress(self, operation: Compress) -> None:
        target = self.directory / "compressed"
        ending = _ENDINGS[operation.format][0]
        require_space(self.directory, self.spooled.size_bytes)
        pause = self._pause("compressing")
        with self.spooled.path.open("rb") as source, target.open("wb") as raw, _compressor(operation, raw) as packed:
            while data := source.read(READ_BYTES):
                packed.write(data)
                pause(source.tell())
        self._upload(target, f"{self.filename}.{ending}", _MEDIA_TYPES[operation.format])

    def _decompress(self) -> None:
        if self._packed is None:
            raise Reject(f"decompress: {self.filename} is {self.media.media_type}, neither gzip nor zstd")
        self._upload(self._expanded_file(), self._unpacked_name(), "application/octet-stream")

    def _thumbnail(self, operation: Thumbnail) -> None:
        self._need("thumbnail", "image")
        from worker.transforms.files import images  # noqa: PLC0415

        target = self.directory / "thumbnail"
        images.thumbnail(self.spooled.path, target, operation, self.ctx.checkpoint)
        self._upload(target, f"{self.filename}.thumbnail.{operation.format}", f"image/{operation.format}")

    def _extract_text(self) -> None:
        self._need("extract_text", "pdf", "html", "text")
        target, path = self.directory / "text", self.spooled.path
        if self.media.kind == "pdf":
            from worker.transforms.files import pdfs  # noqa: PLC0415

            def page(index: int, pages: int) -> None:
                self.ctx.progress(index, pages, "extracting text")
                self.ctx.checkpoint()

            pdfs.extract_text(path, target, page)
        else:
            assert self.media.encoding is not None
            pause = self._pause("extracting text")
            if self.media.kind == "html":
                target.write_text(html.text_of(path, self.media.encoding, pause), encoding="utf-8")
            else:
                text.rewrite(path, self.media.encoding, target, pause)
        self._upload(target, f"{self.filename}.txt", "text/plain; charset=utf-8")

    def _convert(self, operation: Convert) -> None:
        # A compressed file that its name calls a table is refused with what it holds instead.
        if not self._is_table and not (self._packed and named_format(self.filename)):
            raise Reject(f"convert: {self.filename} is {self.media.media_type}, not CSV, NDJSON or Parquet")
        table = self._tables()
        target = self.directory / "converted"
        to = operation.to or table.default_format() or ("csv" if table.format == "parquet" else "parquet")
        table.write(target, to)
        self._upload(target, f"{self.filename}.{to}", MEDIA_TYPES[to])

    def _need(self, operation: str, *kinds: Kind) -> None:
        if self.media.kind not in kinds:
            fitting = " or ".join(_TITLES[kind] for kind in kinds)
            raise Reject(f"{operation}: {self.filename} is {self.media.media_type}, not {fitting}")

    def _tables(self) -> TableJob:
        if self._table is None:
            self._table = TableJob(find_table(self.spooled.path, self.filename), self.ctx)
        return self._table

    def _pause(self, note: str) -> Callable[[int], None]:
        def pause(done_bytes: int) -> None:
            self.ctx.progress(done_bytes, self.spooled.size_bytes, note)
            self.ctx.checkpoint()

        return pause

    def _expanded(self, piece_bytes: int) -> Iterator[bytes]:
        assert self._packed in {"gzip", "zstd"}
        pause = self._pause("expanding")
        with self.spooled.path.open("rb") as raw:
            packed = cast(Any, self._packed)
            stream = Expanded(raw, packed, compressed_bytes=self.spooled.size_bytes)
            while data := stream.read(piece_bytes):
                pause(raw.tell())
                yield data

    def _expanded_file(self) -> Path:
        target = self.directory / "expanded"
        if not target.exists():
            with target.open("wb") as output:
                for data in self._expanded(READ_BYTES):
                    require_space(self.directory, len(data))
                    output.write(data)
        return target

    def _unpacked_name(self) -> str:
        assert self._packed is not None
        stem, dot, ending = self.filename.rpartition(".")
        if dot and stem and ending.lower() in _ENDINGS[self._packed]:
            return stem
        if dot and stem and ending.lower() in {"tgz", "tzst"}:
            return f"{stem}.tar"
        return f"{self.filename}.expanded"

    def _upload(self, path: Path, name: str, content_type: str) -> None:
        started = time.perf_counter()
        output = names.PROCESSED + name
        upload(self.ctx, output, path, content_type=content_type)
        self._transfer_s += time.perf_counter() - started
        self._outputs.append(output)


def _compressor(operation: Compress, raw: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    packed: object
    if operation.format == "gzip":
        # No name, no time: the same file gives the same bytes. Level 6 is what gzip itself takes.
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6)
    else:
        packed = zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(raw, closefd=False)
    return cast(AbstractContextManager[IO[bytes]], packed)
