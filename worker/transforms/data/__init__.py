"""What data tasks do: sources, steps, and the plan that runs them."""
