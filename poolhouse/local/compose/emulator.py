"""Which Pub/Sub emulator a stack of containers has, and what the other one could not do, or would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from poolhouse.local.compose import file
from poolhouse.pipeline.errors import ConfigError

#: Words for `--pubsub`.
POOLHOUSE, GOOGLE = "poolhouse", "google"
WORDS = (POOLHOUSE, GOOGLE)
_GOOGLE_LOSES = "does not send again what a killed worker held, and forgets queues and messages when it restarts"


@dataclass(frozen=True, kw_only=True)
class PubSub:
    """The emulator of a stack."""

    #: One of `WORDS`; None for an image of the user's own.
    word: str | None
    #: The image to pull; None: it is built here.
    image: str | None

    @property
    def backlog_source(self) -> str:
        """The API's BACKLOG_SOURCE."""
        return "none" if self.word == GOOGLE else "emulator"

    def about(self) -> str:
        """A line for people."""
        if self.word == POOLHOUSE:
            return (
                "Pub/Sub: Poolhouse's emulator, its queues on a volume "
                f"(--pubsub {GOOGLE}: a second opinion; Google's {_GOOGLE_LOSES})"
            )
        if self.word == GOOGLE:
            return (
                f"Pub/Sub: Google's emulator. It {_GOOGLE_LOSES}; nor does it report what waits. "
                f"--pubsub {POOLHOUSE} loses nothing"
            )
        return f"Pub/Sub: {self.image} (PUBSUB_IMAGE)"


def of_image(image: str) -> str | None:
    """The word for the emulator that an image has; None where it is neither's."""
    if image.startswith("poolhouse-pubsub:"):
        return POOLHOUSE
    return GOOGLE if image == file.google_pubsub_image() else None


def choose(word: str | None, environment: Mapping[str, str]) -> PubSub:
    """The emulator of a new stack.

    Args:
        word: of `--pubsub`; None: PUBSUB_IMAGE where that is set, else ours.
        environment: settings; with the word for Google's, PUBSUB_IMAGE names a mirror of it.

    Raises:
        ConfigError: there is no such emulator.
    """
    own, googles = environment.get("PUBSUB_IMAGE"), file.google_pubsub_image()
    match word:
        case None if own:
            return PubSub(word=of_image(own), image=own)
        case None | "poolhouse":
            return PubSub(word=POOLHOUSE, image=None)
        case "google":
            return PubSub(word=GOOGLE, image=own or googles)
        case _:
            raise ConfigError(f"there is no Pub/Sub emulator {word!r} (--pubsub {' or '.join(WORDS)})")
