"""A real Kubernetes for development, tests, the demo and the benchmarks: see README.md in this folder."""
