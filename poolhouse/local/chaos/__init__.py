"""Chaos: workers are killed, the API restarts, servers fail, and in the end there is proof that nothing was lost.

`plan` says from a seed what is submitted and what goes wrong when; `stack` runs the processes; `journal` keeps what
storage itself saw; `verdict` judges the end.
"""

from poolhouse.local.chaos.plan import Plan, make_plan
from poolhouse.local.chaos.round import Report, run_round

__all__ = ["Plan", "Report", "make_plan", "run_round"]
