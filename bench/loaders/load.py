#!/usr/bin/env python3
"""One process of the benchmark: stores all values by one method, or loads them, cold, and prints one JSON line."""
import argparse
import json

import drives
import memory
import methods


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operation", choices=("store", "load"))
    parser.add_argument("method", choices=methods.NAMES)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--pool")
    parser.add_argument("--value-bytes", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    chosen = parser.parse_args()
    work = memory.Work(chosen.value_bytes, chosen.count)
    buffers = memory.Buffers(work)
    method = methods.make(chosen.method, methods.Place(chosen.folder, chosen.pool), buffers)
    if chosen.operation == "store" or not method.lasting:
        buffers.fill()
        method.store()
    result = {"lasting": method.lasting}
    if chosen.operation == "load":
        buffers.clear()
        drives.make_cold()
        with memory.Measured() as measured:
            method.load()
        result |= {"seconds": measured.seconds, "gb_per_s": work.bytes / measured.seconds / 1e9,
                   "cpu_s_per_gib": measured.cpu_s / (work.bytes / (1 << 30)), "right": buffers.right()}
    method.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
