"""Compression of a message's data (Compression in google/pubsub/v1/pubsub.proto)."""

from __future__ import annotations

import zlib
from typing import Any, Final

from poolhouse_pubsub import protos
from poolhouse_pubsub.limits import PUBLISH_BYTES
from poolhouse_pubsub.transforms.errors import TransformError, UnavailableTransformError

_ALGORITHMS: Final = protos.Compression.CompressionAlgorithm
_MODES: Final = protos.Compression.CompressionMode
_INSTALL: Final = "ZSTD transforms need the package zstandard: pip install zstandard."


class CompressionTransform:
    """Compresses or decompresses data.

    Args:
        algorithm: Number of a `Compression.CompressionAlgorithm`.
        mode: Number of a `Compression.CompressionMode`.
    """

    def __init__(self, algorithm: int, mode: int) -> None:
        self._algorithm = algorithm
        self._mode = mode

    def check(self) -> None:
        """Check both numbers.

        Raises:
            TransformError: One is unspecified or unknown.
            UnavailableTransformError: zstandard is not installed.
        """
        if self._algorithm not in (_ALGORITHMS.Value("ZLIB"), _ALGORITHMS.Value("ZSTD")):
            raise TransformError("compression.compression_algorithm is ZLIB or ZSTD")
        if self._mode not in (_MODES.Value("COMPRESS"), _MODES.Value("DECOMPRESS")):
            raise TransformError("compression.compression_mode is COMPRESS or DECOMPRESS")
        if self._algorithm == _ALGORITHMS.Value("ZSTD"):
            _zstandard()

    def apply(self, message: Any, metadata: dict[str, str]) -> bool:
        """Change the data of a PubsubMessage in place; it always goes on.

        Raises:
            TransformError: The data is not compressed, or too long once it is decompressed.
        """
        compresses = self._mode == _MODES.Value("COMPRESS")
        if self._algorithm == _ALGORITHMS.Value("ZLIB"):
            message.data = zlib.compress(message.data) if compresses else _inflate(message.data)
        else:
            message.data = _zstandard().compress(message.data) if compresses else _unzstd(message.data)
        return True


def _inflate(data: bytes) -> bytes:
    engine = zlib.decompressobj()
    try:
        out = engine.decompress(data, PUBLISH_BYTES + 1)
    except zlib.error as error:
        raise TransformError(f"the data can't be decompressed: it is not ZLIB ({error})") from None
    if len(out) > PUBLISH_BYTES:
        raise _too_long()
    if not engine.eof or engine.unused_data:
        raise TransformError("the data can't be decompressed: it is not one whole ZLIB stream")
    return out


def _unzstd(data: bytes) -> bytes:
    zstandard = _zstandard()
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            out: bytes = reader.read(PUBLISH_BYTES + 1)
        if len(out) > PUBLISH_BYTES:
            raise _too_long()
        # Only now that its length is known to be bounded: this engine has no limit, but tells where the frame ends.
        engine = zstandard.ZstdDecompressor().decompressobj()
        engine.decompress(data)
    except zstandard.ZstdError as error:
        raise TransformError(f"the data can't be decompressed: it is not ZSTD ({error})") from None
    if not engine.eof or engine.unused_data:
        raise TransformError("the data can't be decompressed: it is not one whole ZSTD frame")
    return out


def _too_long() -> TransformError:
    return TransformError(f"the decompressed data is longer than the {PUBLISH_BYTES} bytes of a message")


def _zstandard() -> Any:
    try:
        import zstandard  # noqa: PLC0415 - optional, and only where a transform is
    except ImportError:
        raise UnavailableTransformError(_INSTALL) from None
    return zstandard
