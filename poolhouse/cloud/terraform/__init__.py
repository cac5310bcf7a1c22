"""The resources of a deploy as a Terraform configuration."""
