"""How each kind of resource is written as Terraform: a module for each group of files."""
