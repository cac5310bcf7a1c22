"""zip and tar archives: their entries. Nothing is ever unpacked to a path that an archive names."""

from __future__ import annotations

import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, cast

from poolhouse.worker.errors import Reject
from worker.transforms.files.report import ArchiveReport
from worker.transforms.tables.compression import FREE_EXPANSION_BYTES, MAX_EXPANSION_RATIO
from worker.transforms.tables.guard import guarded

#: Flag of an entry that takes a password (APPNOTE.TXT 4.4.4).
_ENCRYPTED = 1
#: The longest target of a link.
MAX_LINK_BYTES = 4096
#: Entries of an archive.
MAX_ENTRIES = 100_000
#: Bytes of a zip's directory, which the zipfile module reads as a whole.
MAX_DIRECTORY_BYTES = 32 * 1024 * 1024
#: The longest header field of a tar (a long name, a PAX record), which the tarfile module reads as a whole.
MAX_TAR_HEADER_BYTES = 1024 * 1024
#: Names that a report lists.
LISTED_NAMES = 100

Pause = Callable[[], None]


def inspect_zip(path: Path, pause: Pause) -> ArchiveReport:
    """The entries of a zip.

    Raises:
        Reject: it is broken, has too many entries, one that would be written outside of the target folder, or is a
            decompression bomb.
    """
    _check_directory(path)
    with guarded("the zip is broken"), path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
        entries = archive.infolist()
        pause()
        for link in filter(_is_link, entries):
            pause()
            with archive.open(link) as content:
                target = content.read(MAX_LINK_BYTES).decode(errors="replace")
            _check_name(str(PurePosixPath(link.filename).parent / target), "a link to")
    return _report("zip", ((entry.filename, entry.file_size) for entry in entries), path.stat().st_size)


def _is_link(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is a symbolic link to `unzip`, with a target that can be read: its content."""
    return stat.S_ISLNK(entry.external_attr >> 16) and not entry.flag_bits & _ENCRYPTED


def inspect_tar(path: Path, pause: Pause, *, archive_bytes: int) -> ArchiveReport:
    """The entries of an uncompressed tar; `archive_bytes` is the size of the upload. Raises as `inspect_zip` does."""

    def entries(archive: tarfile.TarFile) -> Iterable[tuple[str, int]]:
        while (entry := archive.next()) is not None:
            pause()
            # The module keeps every entry that it has seen.
            archive.members.clear()  # type: ignore[attr-defined]
            if entry.issym():
                _check_name(str(PurePosixPath(entry.name).parent / entry.linkname), "a link to")
            elif entry.islnk():
                _check_name(entry.linkname, "a link to")
            yield entry.name, entry.size

    with (
        guarded("the tar is broken"),
        path.open("rb") as raw,
        tarfile.open(fileobj=cast(IO[bytes], _Bounded(raw)), mode="r:") as archive,
    ):
        return _report("tar", entries(archive), archive_bytes)


def _report(form: str, entries: Iterable[tuple[str, int]], archive_bytes: int) -> ArchiveReport:
    limit = max(FREE_EXPANSION_BYTES, archive_bytes * MAX_EXPANSION_RATIO)
    names: list[str] = []
    count = expanded_bytes = 0
    for name, size_bytes in entries:
        count += 1
        if size_bytes < 0:
            raise Reject(f"the {form} is broken: entry {count} has a size below 0")
        expanded_bytes += size_bytes
        _check_name(name, f"entry {count}")
        if count > MAX_ENTRIES:
            raise Reject(f"the {form} has more than {MAX_ENTRIES} entries")
        if expanded_bytes > limit:
            raise Reject(
                f"entry {count} of the {form}: the entries so far expand to {expanded_bytes} bytes, more than "
                f"{MAX_EXPANSION_RATIO} times the archive: refused as a decompression bomb"
            )
        if len(names) < LISTED_NAMES:
            names.append(name[:500])
    return ArchiveReport(format=form, entries=count, names=names, expanded_bytes=expanded_bytes)


def _check_name(name: str, what: str) -> None:
    """Refuse names that would be written outside of the folder that an archive is unpacked to ("zip slip")."""
    path = name.replace("\\", "/")
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else part not in {"", "."}
        if depth < 0:
            break
    if depth < 0 or path.startswith("/") or path[1:2] == ":":
        raise Reject(f"{what} {name[:200]!r} would leave the folder that the archive is unpacked to")


def _check_directory(path: Path) -> None:
    """Refuse a zip with a huge directory before the zipfile module reads it: APPNOTE.TXT 4.3.14 and 4.3.16."""
    size_bytes = path.stat().st_size
    with path.open("rb") as raw:
        raw.seek(max(0, size_bytes - 65_557))  # the record, and the longest comment after it
        tail = raw.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise Reject("the zip is broken: it has no directory at its end")
    entries, directory_bytes = struct.unpack("<HI", tail[at + 10 : at + 16])
    at64 = tail.rfind(b"PK\x06\x06", 0, at)
    if at64 >= 0 and len(tail) >= at64 + 48:
        entries, directory_bytes = struct.unpack("<QQ", tail[at64 + 32 : at64 + 48])
    if entries > MAX_ENTRIES or directory_bytes > MAX_DIRECTORY_BYTES:
        raise Reject(f"the zip has {entries} entries, more than {MAX_ENTRIES} or with too long names")


class _Bounded:
    """A file that refuses to be read in one piece of a size that only a hostile header asks for."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > MAX_TAR_HEADER_BYTES:
            raise Reject(f"the tar has a header of more than {MAX_TAR_HEADER_BYTES} bytes")
        return self._raw.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()
