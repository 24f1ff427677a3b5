"""The parts of kvpool.sglang."""
