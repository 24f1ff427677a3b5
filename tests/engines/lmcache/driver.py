"""Drives a connector as LMCache does: submits, waits for its eventfd, drains."""
import ctypes
import select
import time

import pools

PATIENCE_S = 120  # the machine may be busy, or stopped for a while


def pool_file(folder, name="pool", *, catalog=True, capacity="64MiB", settings="", device=""):
    """Writes a pool of one file and returns the path of its pool file; both lie in `folder`."""
    if catalog:
        settings += f'\ncatalog = "{name}.catalog"'
    return pools.write(folder, pools.disk(capacity, device, f"{name}.drive"), settings=settings, name=f"{name}.toml")


def buffer(count, offset=0):
    """A writable view of `count` bytes, of the kind that LMCache gives, `offset` bytes behind a page's begin."""
    memory = (ctypes.c_ubyte * (count + 8192))()
    begin = -ctypes.addressof(memory) % 4096 + offset
    return memoryview(memory)[begin:begin + count]


def filled(data, offset=0):
    view = buffer(len(data), offset).cast("B")
    view[:] = data
    return view


def completions(connector, count, patience_s=PATIENCE_S):
    """Waits for `count` completions as LMCache's thread does, by the eventfd alone; fewer if they do not come."""
    poller = select.poll()
    poller.register(connector.event_fd(), select.POLLIN)
    found, until = [], time.monotonic() + patience_s
    while len(found) < count and time.monotonic() < until:
        if poller.poll(100):
            found += connector.drain_completions()
    return found


def one(connector, number, patience_s=PATIENCE_S):
    """(ok, error, results) of batch `number`, which is all that is under way."""
    found = completions(connector, 1, patience_s)
    if [entry[0] for entry in found] != [number]:
        raise AssertionError(f"batch {number} completed as {found}")
    return found[0][1:]


def store(connector, keys, blocks, offset=0):
    return one(connector, connector.submit_batch_set(keys, [filled(block, offset) for block in blocks]))


def load(connector, keys, lengths, offset=0):
    """(ok, results, what lies in the buffers)."""
    views = [buffer(length, offset).cast("B") for length in lengths]
    ok, _, results = one(connector, connector.submit_batch_get(keys, views))
    return ok, results, [bytes(view) for view in views]


def found(connector, keys):
    return one(connector, connector.submit_batch_exists(keys))[2]
