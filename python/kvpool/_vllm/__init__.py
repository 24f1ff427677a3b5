"""The parts of kvpool.vllm. Only `tier` knows vLLM's classes; the others take plain values."""
