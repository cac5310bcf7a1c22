"""The checksums of a file report, updated piece by piece."""

from __future__ import annotations

import base64
import hashlib

import google_crc32c


class Hashes:
    """SHA-256 and CRC32C of bytes that come in pieces."""

    def __init__(self) -> None:
        self._sha256, self._crc32c = hashlib.sha256(), 0

    def update(self, data: bytes) -> None:
        """Add the next piece."""
        self._sha256.update(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)

    @property
    def sha256(self) -> str:
        """In hexadecimal digits."""
        return self._sha256.hexdigest()

    @property
    def crc32c(self) -> str:
        """Big-endian, in base64, as Cloud Storage shows it."""
        return base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()
