"""What people have made before a deploy: secrets with a value, and service accounts of their own."""

from __future__ import annotations

from poolhouse.cloud.kinds import secrets
from poolhouse.cloud.options import Options, project_of
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER, State
from poolhouse.pipeline.config.topology import Topology


def make(state: State, topology: Topology, *, options: Options) -> frozenset[str]:
    """Make all that pipeline.toml names and no deploy makes, and enable the APIs that this takes.

    Returns:
        Their full names: a destroy leaves them.
    """
    present = set(state.items)
    for email in set(options.own_accounts.values()):
        state.enabled.add("iam.googleapis.com")
        name = f"projects/{project_of(email)}/serviceAccounts/{email}"
        state.create(f"iam/projects/{state.project}/serviceAccounts/{email}", {"name": name, "email": email})
    for variable in topology.all_secrets:
        state.enabled.add(secrets.API)
        secret = secrets.secret_id(variable, options)
        path = f"projects/{PROJECT_NUMBER}/secrets/{secret}"
        state.create(f"secretmanager/projects/{state.project}/secrets/{secret}", {"name": path})
        for number in range(1, secrets.newest(variable, topology) + 1):
            version = {"name": f"{path}/versions/{number}", "state": "ENABLED", "createTime": state.now()}
            state.create(f"secretmanager/projects/{state.project}/secrets/{secret}/versions/{number}", version)
    return frozenset(set(state.items) - present)
