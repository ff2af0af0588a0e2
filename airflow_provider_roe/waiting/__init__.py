"""A wait, the same in every mode: when it polls, what it tells, how it ends, and a task's part in it."""
