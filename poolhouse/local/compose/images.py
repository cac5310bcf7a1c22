"""`invoke images`: everything that the Compose stack needs from elsewhere, so that nothing needs a network afterwards.

Images are pulled where a registry answers. Where none does, stand-ins are made under the same names, from Debian
packages, the Pub/Sub emulator of the installed gcloud and the fake-gcs-server of the installed wheel; so the Compose
file and the Dockerfile are the same for all. The production dependencies go to .wheelhouse as wheels.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from poolhouse.local.compose import build, emulator, engine, file, project, wheelhouse
from poolhouse.local.compose import stand_ins as images_stand_in
from poolhouse.local.compose.engine import docker
from poolhouse.local.errors import StackError

#: Image label of stand-ins: says what it was made from.
STAND_IN_LABEL = "dev.poolhouse.stand-in"


class Role(StrEnum):
    """What an image is for."""

    PYTHON = "python"
    PUBSUB = "pubsub"
    STORAGE = "storage"


@dataclass(frozen=True)
class Wanted:
    """An image that is not built here."""

    role: Role
    name: str


@dataclass(frozen=True)
class Present:
    """An image that is there now, and how it came: `here`, `pulled` or `made`."""

    wanted: Wanted
    how: str


_RECIPES: Mapping[Role, Callable[[], images_stand_in.Recipe]] = {
    Role.PYTHON: images_stand_in.python,
    Role.PUBSUB: images_stand_in.pubsub,
    Role.STORAGE: images_stand_in.storage,
}


def wanted(environment: Mapping[str, str] = os.environ) -> tuple[Wanted, ...]:
    """The images that docker-compose.yml and the Dockerfile name, and Google's emulator for a second opinion."""
    return (
        Wanted(Role.PYTHON, file.base_image(environment)),
        Wanted(Role.PUBSUB, str(emulator.choose(emulator.GOOGLE, environment).image)),
        Wanted(Role.STORAGE, file.storage_image(environment)),
    )


def prepare(*, stand_ins: bool = False, say: Callable[[str], None] = print) -> tuple[Present, ...]:
    """Pull or make the images, fill the wheelhouse, build.

    Args:
        stand_ins: make the stand-ins anew, whatever is here or could be pulled.
        say: takes lines for people.

    Raises:
        StackError: an image can neither be pulled nor made; the text says what is missing.
    """
    engine.probe()
    with ThreadPoolExecutor(4) as pool:
        wheels = pool.submit(wheelhouse.fill, architecture=engine.architecture())
        found = tuple(pool.map(lambda image: _obtain(image, stand_in=stand_ins, say=say), wanted()))
        say(f"  {wheels.result()} wheels of the images' dependencies in {wheelhouse.WHEELHOUSE.name}/")
    started = time.monotonic()
    built = project.images(os.environ)
    build.build(tuple(built))
    say(f"  built {', '.join(built.values())} ({time.monotonic() - started:.0f} s)")
    say("done: ./invoke up --backend compose needs no network now")
    return found


def _obtain(image: Wanted, *, stand_in: bool, say: Callable[[str], None]) -> Present:
    started = time.monotonic()
    if not stand_in and engine.has_image(image.name) and not _outdated(image):
        how = "here"
    elif not stand_in and engine.can_pull(image.name):
        engine.pull(image.name)
        how = "pulled"
    else:
        _make(image)
        how = "made"
    words = {"here": "is here", "pulled": "pulled", "made": "can't be pulled: made a stand-in"}
    if stand_in:
        words["made"] = "made a stand-in"
    say(f"  {image.name}: {words[how]} ({time.monotonic() - started:.0f} s)")
    return Present(image, how)


def _outdated(image: Wanted) -> bool:
    """Whether it is a stand-in by another recipe than this version's."""
    label = engine.image_label(image.name, STAND_IN_LABEL)
    if label is None:
        return False
    try:
        return label != _RECIPES[image.role]().label
    except StackError:
        return False  # what it was made from is gone


def _make(image: Wanted) -> None:
    recipe = _RECIPES[image.role]()
    changes = [f"LABEL {STAND_IN_LABEL}={recipe.label}", *recipe.changes]
    with recipe.tar() as tar:
        arguments = [part for change in changes for part in ("--change", change)]
        docker("import", *arguments, str(tar), image.name, timeout_s=engine.BUILD_TIMEOUT_S)
    if not engine.has_image(image.name):
        raise StackError(
            f"the stand-in for {image.name} is for another processor than the engine's: make it on a machine like that"
        )


def command(*, stand_ins: bool = False) -> int:
    """`invoke images`; returns its exit code."""
    prepare(stand_ins=stand_ins)
    return 0
