"""The index of tasks: what listings, counts and figures are answered from. docs/task-index.md describes it."""
