"""This project's commands: `./invoke --list`."""

from poolhouse.commands.collection import *  # noqa: F403
