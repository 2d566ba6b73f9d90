"""The shipped coordinator with one thing changed: its writes wait for the pair that AWAITED_PAIR names (quorum_policies.py).

An ASGI application for uvicorn, in the place of the coordinator's `main:app`. AWAITED_PAIR is fixed, random or proposed;
AWAITED_PAIR_SEED seeds the second.
"""

import importlib
import os
from unittest.mock import patch

from quorum_policies import policy, write_path_that_awaits

choose = policy(os.environ["AWAITED_PAIR"], os.environ["AWAITED_PAIR_SEED"])
# as long as this process lives: every replicator that is made in it has the other write path
patch("replication.replicator.WritePath", write_path_that_awaits(choose)).start()
app = importlib.import_module("main").app
