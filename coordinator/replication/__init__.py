"""The protocol: pure, synchronous, without clock, network or randomness. `replicator.Replicator` is its door."""
