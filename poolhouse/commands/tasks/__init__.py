"""Commands on tasks and what they go through, on the local stack or a deployed one."""
