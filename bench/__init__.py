"""How fast, how frugal and how small the operator is, measured on a real API server. `make bench` runs it."""
