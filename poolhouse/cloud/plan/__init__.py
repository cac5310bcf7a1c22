"""What a deploy changes: desired state, actual state, the plan, its execution."""
