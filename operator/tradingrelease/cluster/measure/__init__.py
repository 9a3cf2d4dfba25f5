"""Measures checks: one task a check, one module a kind. Nothing here decides; nothing here writes to the cluster."""
