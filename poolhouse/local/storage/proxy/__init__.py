"""A proxy in front of a storage server that does to a client what a network and a large service do: faults, limits.

with FaultProxy("http://127.0.0.1:4443", seed=7) as proxy:
    proxy.faults.add("status", status=503, probability=0.1)
    os.environ["STORAGE_EMULATOR_HOST"] = proxy.url
"""

from poolhouse.local.storage.proxy.exchange import Exchange
from poolhouse.local.storage.proxy.faults import Fault, Faults
from poolhouse.local.storage.proxy.limits import WriteLimits
from poolhouse.local.storage.proxy.mutations import Mutation
from poolhouse.local.storage.proxy.server import FaultProxy

__all__ = ["Exchange", "Fault", "FaultProxy", "Faults", "Mutation", "WriteLimits"]
