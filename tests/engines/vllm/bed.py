"""A real pool in a folder of its own, vLLM's primary tier as a shared mapping, and what vLLM's manager would call."""
import hashlib
import mmap
import os
import shutil
import tempfile
import time
import unittest

import standin

ROWS = 16
ROW_BYTES = 8192
PATIENCE_S = 60

POOL = """
[pool]
version = 1
unit = "32KiB"
create_if_missing = true
{pool}

[[device]]
name = "disk"
kind = "file"
path = "disk.pool"
capacity = "{capacity}"
read_bandwidth = "800MB/s"
write_bandwidth = "400MB/s"
accept_buffered = true
{device}
"""


def key(number, group=0):
    return hashlib.sha256(b"%d" % number).digest() + group.to_bytes(4, "big")


def content(number, group=0, row_bytes=ROW_BYTES):
    return hashlib.shake_256(b"content %d %d" % (number, group)).digest(row_bytes)


class TierTest(unittest.TestCase):
    GENERATION = "0.32.0"

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="kvpool-vllm-", dir=os.environ.get("KVPOOL_TEST_DIR"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.module = standin.install(self.GENERATION)
        self.jobs = 0

    # --- pools and tiers ---

    def pool_file(self, name="pool.toml", *, pool='catalog = "catalog.db"', device="", capacity="64MiB"):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(POOL.format(pool=pool, device=device, capacity=capacity))
        return path

    def open(self, path, rows=ROWS, row_bytes=ROW_BYTES, settings=None, generation=None, **options):
        """A tier and its primary view. Shut down at the test's end, if it is not before."""
        region = mmap.mmap(-1, rows * row_bytes)
        view = memoryview(region).cast("B").cast("b", (rows, row_bytes))
        spec = standin.spec(generation=generation or self.GENERATION, bytes_per_block=row_bytes, **(settings or {}))
        tier = self.module.KVPoolTier(offloading_spec=spec, primary_kv_view=view, tier_type="KVPoolTier", pool=path,
                                      **options)
        tier.region = region
        self.addCleanup(tier.shutdown)
        return tier

    # --- what vLLM's manager does ---

    def request(self, name="request", chunks=(), tokens_per_chunk=16):
        """A request whose prompt has these keys, in this order."""
        if self.GENERATION == "0.28.0":
            return standin.OldReqContext(name)
        return standin.ReqContext(name, {k: (i + 1) * tokens_per_chunk for i, k in enumerate(chunks)})

    def job(self, keys, rows, request, is_load):
        self.jobs += 1
        make = standin.OldTransferJob if self.GENERATION == "0.28.0" else standin.TransferJob
        return make(self.jobs, list(keys), list(rows), is_load, request)

    def start(self, tier, keys, rows, request, is_load):
        job = self.job(keys, rows, request, is_load)
        (tier.submit_load if is_load else tier.submit_store)(job)
        return job

    def finish(self, tier, job):
        """The job's result: polled for, as vLLM's steps do."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for result in tier.get_finished_jobs():
                self.assertEqual(result.job_id, job.job_id)
                return result
            time.sleep(0.001)
        self.fail(f"job {job.job_id} never ends")

    def fill(self, tier, rows, numbers, group=0, row_bytes=ROW_BYTES):
        for row, number in zip(rows, numbers):
            tier.region[row * row_bytes:(row + 1) * row_bytes] = content(number, group, row_bytes)

    def store(self, tier, numbers, group=0, request=None, row_bytes=ROW_BYTES):
        keys = [key(number, group) for number in numbers]
        rows = list(range(len(keys)))
        self.fill(tier, rows, numbers, group, row_bytes)
        request = request or self.request("store", keys)
        return self.finish(tier, self.start(tier, keys, rows, request, False))

    def load(self, tier, numbers, group=0, request=None, rows=None):
        keys = [key(number, group) for number in numbers]
        rows = list(rows if rows is not None else range(len(keys)))
        for row in rows:
            tier.region[row * ROW_BYTES:(row + 1) * ROW_BYTES] = bytes(ROW_BYTES)
        return self.finish(tier, self.start(tier, keys, rows, request or self.request("load", keys), True))

    def row(self, tier, at):
        return tier.region[at * ROW_BYTES:(at + 1) * ROW_BYTES]

    def hits(self, tier, numbers, group=0, request=None):
        """The numbers whose keys a lookup finds."""
        request = request or self.request("lookup", [key(n, group) for n in numbers])
        found = [n for n in numbers if tier.lookup(key(n, group), request) is standin.LookupResult.HIT]
        tier.on_request_finished(request)
        return found

    # --- what goes wrong ---

    def damage(self, number, group=0):
        """Turns one bit of the chunk's stored bytes on the device file."""
        path = os.path.join(self.folder, "disk.pool")
        with open(path, "r+b") as disk:
            stored = disk.read()
            at = stored.find(content(number, group)[:4096])
            self.assertGreaterEqual(at, 0, "the chunk is not on the device")
            disk.seek(at + 100)
            disk.write(bytes([stored[at + 100] ^ 1]))
