"""usage: PYTHONPATH=build/python python/bench/overhead.py build/bin/face_bench [ROUNDS]

What the same calls take from C++ and from Python, on a pool of memory: both in turn, ROUNDS (11) times; medians.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

import kvpool

POOL = """[pool]
version = 1
[[device]]
name = "ram"
kind = "memory"
capacity = "256MiB"
read_bandwidth = "5GB/s"
write_bandwidth = "5GB/s"
"""


def rows_of_cpp(program, file):
    lines = subprocess.run([program, file], check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: float(seconds) for name, seconds in map(str.split, lines)}


def rows_of_python(file):
    with kvpool.Pool.open(file) as pool:
        space, memory = pool.space(model="bench"), memoryview(pool.allocate(16 << 20))
        keys, one, large = [b"a key as long as a digest: %d" % (1000 + i) for i in range(256)], [b"small"], [b"large"]
        small = memory[:64 << 10]
        rows = {}

        def timed(name, count, body):
            begin = time.perf_counter()
            for _ in range(count):
                body()
            rows[name] = (time.perf_counter() - begin) / count

        kvpool.check(space.put(keys, [small] * 256))
        kvpool.check(space.put(large, [memory]))
        timed("match_256", 2000, lambda: space.match(keys))
        timed("put_drop_64KiB", 1000, lambda: (space.put(one, [small]), space.drop(one)))
        kvpool.check(space.put(one, [small]))
        timed("get_64KiB", 2000, lambda: space.get(one, [small]))
        timed("get_256_x_64KiB", 50, lambda: space.get(keys, [small] * 256))
        timed("get_16MiB", 50, lambda: space.get(large, [memory]))
        return rows


def main():
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 11
    cpp, python = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "pool.toml")
        with open(file, "w", encoding="utf-8") as out:
            out.write(POOL)
        for _ in range(rounds):
            cpp.append(rows_of_cpp(sys.argv[1], file))
            python.append(rows_of_python(file))
    print(f"{'call':18}{'C++ us':>10}{'Python us':>11}{'more us':>9}{'of it':>8}   spread of Python over C++, by pair")
    for name in cpp[0]:
        ours, theirs = [row[name] for row in python], [row[name] for row in cpp]
        ratios = sorted(a / b for a, b in zip(ours, theirs))
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{name:18}{b * 1e6:10.1f}{a * 1e6:11.1f}{(a - b) * 1e6:9.1f}{statistics.median(ratios) - 1:8.1%}"
              f"   {ratios[0]:.3f} to {ratios[-1]:.3f}")


if __name__ == "__main__":
    main()
