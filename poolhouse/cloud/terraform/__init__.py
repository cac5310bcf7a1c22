"""The resources of a deploy as Terraform's configuration."""
