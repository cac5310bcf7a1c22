"""What `up --keep` keeps for the next stack: the queues' state, the objects, their time, and the name they go by."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kept:
    """The folder of a state directory that outlives stacks."""

    root: Path

    @classmethod
    def of(cls, state_dir: Path) -> Kept:
        """The one of a state directory, made or not."""
        return cls(state_dir / "data")

    @property
    def pubsub(self) -> Path:
        """The emulator's folder."""
        return self.root / "pubsub"

    @property
    def objects(self) -> Path:
        """The storage server's folder."""
        return self.root / "objects"

    @property
    def clock(self) -> Path:
        """The file that says how far the clock was moved: what is kept is dated by it."""
        return self.root / "clock"

    def name(self) -> str:
        """The part of project and bucket names that is this folder's own; chosen at the first call."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.root / "name"
        if not file.exists():
            chosen = file.with_suffix(".new")
            chosen.write_text(secrets.token_hex(4), encoding="ascii")
            chosen.replace(file)
        return file.read_text(encoding="ascii")

    def delete(self) -> bool:
        """Delete all of it; False if there was nothing. Raises `OSError` where the system refuses."""
        if not self.root.exists():
            return False
        shutil.rmtree(self.root)
        return True
