"""`invoke export terraform`."""

from __future__ import annotations

from pathlib import Path

from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.options import Options
from poolhouse.cloud.terraform import export
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK
from poolhouse.project import ROOT

#: Where the files go unless a folder is named.
FOLDER = "terraform"


def run(declared: Topology, *, project: str, folder: str, with_imports: bool) -> int:
    """Write the configuration of a stage.

    Raises:
        CloudError: the project can't be read, or the folder has other files of these names.
        ConfigError: no project is named, or the folder can't be written.
    """
    options = Options.declared(declared, project=project)
    where = Path(folder or FOLDER)
    if with_imports:
        exported = export.with_imports(Gcloud(options.project), declared, options=options, root=ROOT)
    else:
        exported = export.offline(declared, options=options, root=ROOT)
    try:
        export.save(exported, where)
    except OSError as error:
        raise ConfigError(f"--folder {where}: {error.strerror}") from None
    imports = "" if exported.imports is None else f", {exported.imports} import blocks in {export.IMPORTS}"
    print(f"wrote {len(exported.files)} files to {where}/{imports}; {where}/README.md says what is not in them")
    return OK
