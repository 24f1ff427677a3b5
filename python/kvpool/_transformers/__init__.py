"""The parts of kvpool.transformers."""
