"""How each kind of resource is written: one module for each of Terraform's files."""
