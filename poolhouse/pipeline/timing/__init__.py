"""When a task runs: delays, timers, schedules, the clock."""
