"""Everything that touches the outside: MySQL nodes, the helper services, clocks. They carry out effects and decide nothing."""
