"""This project's commands: `./invoke --list`."""

from invoke import Context, task
from poolhouse.commands import collection

ns = collection()


@task
def hello(c: Context) -> None:
    """Say hello: replace this with a command of your own."""
    print("hello")


ns.add_task(hello)
