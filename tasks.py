"""This repository's commands: `./invoke --list`."""

from poolhouse.commands import collection

ns = collection(of_the_kit=True)
