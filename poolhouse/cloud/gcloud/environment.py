"""The environment of gcloud's calls: the developer's, without what changes what gcloud prints, asks or runs on."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Settings of a terminal, which a developer's configuration may have otherwise. Without output every answer is empty,
#: which means that nothing is there; logged requests would be taken for error messages.
_QUIET = {
    "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
    # Cloud Run's commands would look for APIs that are off, and end where nobody answers; a deploy has enabled them.
    "CLOUDSDK_CORE_SHOULD_PROMPT_TO_ENABLE_API": "0",
    "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1",
    "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
    "CLOUDSDK_CORE_DISABLE_COLOR": "1",
    "CLOUDSDK_CORE_SHOW_STRUCTURED_LOGS": "never",
    "CLOUDSDK_CORE_USER_OUTPUT_ENABLED": "1",
    "CLOUDSDK_CORE_VERBOSITY": "warning",
    "CLOUDSDK_CORE_LOG_HTTP": "0",
    "CLOUDSDK_RUN_PLATFORM": "managed",
}
#: gcloud runs on a Python of its own, which CLOUDSDK_PYTHON chooses.
_PYTHON = re.compile(r"PYTHON(?!DONTWRITEBYTECODE$)[A-Z0-9]*")
#: Where gcloud and its Python are. All other variables of gcloud are settings.
_INSTALLATION = re.compile(r"CLOUDSDK_(ROOT_DIR|(GSUTIL_|BQ_)?PYTHON\w*)")
#: How gcloud is pointed at an emulator of this machine (docs/emulator.md): these calls are for Google Cloud.
_EMULATORS = re.compile(
    r"CLOUDSDK_API_ENDPOINT_OVERRIDES_\w+=https?://(localhost|127\.[\d.]+|\[::1\])[:/].*|"
    r"CLOUDSDK_AUTH_DISABLE_CREDENTIALS=.*"
)


def of_call(own: Mapping[str, str], more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a call.

    Args:
        own: this process's variables.
        more: further ones. With a CLOUDSDK_CONFIG among them gcloud has a configuration of its own, and no setting of
            `own` counts: neither its login nor its endpoints.
    """
    more = more or {}
    alone = "CLOUDSDK_CONFIG" in more
    kept = {
        name: value
        for name, value in own.items()
        if not _PYTHON.fullmatch(name)
        and not _EMULATORS.fullmatch(f"{name}={value}")
        and not (alone and name.startswith("CLOUDSDK_") and not _INSTALLATION.fullmatch(name))
    }
    return {**kept, **_QUIET, **more}
