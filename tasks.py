"""This project's commands: `./invoke --list`."""

from poolhouse.commands.invoke_tasks import *  # noqa: F403
