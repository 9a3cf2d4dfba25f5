"""What should happen and why: pure functions over values. Nothing in here does I/O or reads a clock."""
