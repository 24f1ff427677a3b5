"""A real pool in a folder of its own, vLLM's primary tier as a shared mapping, and what vLLM's manager would call."""
import hashlib
import mmap
import time

import pools
import standin

ROWS = 16
ROW_BYTES = 8192
PATIENCE_S = 60


def key(number, group=0):
    return hashlib.sha256(b"%d" % number).digest() + group.to_bytes(4, "big")


def content(number, group=0, row_bytes=ROW_BYTES):
    return pools.content(row_bytes, number, group)


class TierTest(pools.FolderTest):
    GENERATION = "0.32.0"

    def setUp(self):
        super().setUp()
        self.module = standin.install(self.GENERATION)
        self.jobs = 0

    # --- pools and tiers ---

    def pool_file(self, name="pool.toml", *, pool=pools.WITH_CATALOG, device="", capacity="64MiB"):
        settings = f'unit = "32KiB"\ncreate_if_missing = true\n{pool}'
        return pools.write(self.folder, pools.disk(capacity, device), settings=settings, name=name)

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
        pools.turn_bit(self.path(pools.DISK), content(number, group)[:4096], at=100)
