"""What the predefined roles of a deploy permit: as much of each as the simulated services ask about (IAM, Roles)."""

from __future__ import annotations

from collections.abc import Mapping

_OBJECTS = frozenset(f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list", "update"))

#: Permissions by role. A role that is not here permits nothing in a rehearsal.
PERMISSIONS: Mapping[str, frozenset[str]] = {
    "roles/storage.objectUser": _OBJECTS,
    "roles/storage.objectAdmin": _OBJECTS,
    "roles/storage.bucketViewer": frozenset({"storage.buckets.get", "storage.buckets.list"}),
    "roles/storage.legacyBucketReader": frozenset({"storage.buckets.get", "storage.objects.list"}),
    "roles/storage.admin": frozenset({"storage.buckets.get", "storage.buckets.list", *_OBJECTS}),
    "roles/artifactregistry.writer": frozenset({"artifactregistry.repositories.uploadArtifacts"}),
    "roles/parametermanager.parameterViewer": frozenset({"parametermanager.parameterVersions.get"}),
    "roles/pubsub.publisher": frozenset({"pubsub.topics.publish"}),
    "roles/secretmanager.secretAccessor": frozenset({"secretmanager.versions.access"}),
}
