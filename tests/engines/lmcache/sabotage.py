"""Connectors that each break one promise. A check that passes with its own of these checks nothing."""
import contextlib
import os

from kvpool import lmcache


class CompletesTwice(lmcache.PoolConnector):
    def _finish(self, number, ok, error="", results=None):
        super()._finish(number, ok, error, results)
        super()._finish(number, ok, error, results)


class ForgetsResults(lmcache.PoolConnector):
    def _finish(self, number, ok, error="", results=None):
        super()._finish(number, ok, error, None)


class FindsEverything(lmcache.PoolConnector):
    def _finish(self, number, ok, error="", results=None):
        super()._finish(number, True, "", results and [True] * len(results))


class NeverWakes(lmcache.PoolConnector):
    def _finish(self, number, ok, error="", results=None):
        self._pending.pop(number, None)
        self._done.append((number, ok, error, results))


class StaysReadable(lmcache.PoolConnector):
    def drain_completions(self):
        done = super().drain_completions()
        os.eventfd_write(self.event_fd(), 1)
        return done


class KeepsOtherLengths(lmcache.PoolConnector):
    def _drop_other_lengths(self, batch, completion, lengths):
        return ""


class TakesOtherLengths(lmcache.PoolConnector):
    def _settle(self, batch, completion):
        completion.block_bytes[:] = [memoryview(view).nbytes for view in batch.views]
        super()._settle(batch, completion)


class RaisesFromSubmit(lmcache.PoolConnector):
    def _start(self, batch):
        self._ask(batch)
        return True


class LosesWhatBroke(lmcache.PoolConnector):
    def _abandon(self, error):
        self._pending.clear()


class TruncatesKeys(lmcache.PoolConnector):
    def _submit(self, kind, keys, views=()):
        return super()._submit(kind, [key[:lmcache.LONGEST_KEY] for key in keys], views)


class OneNamespace(lmcache.PoolConnector):
    def __init__(self, pool, **options):
        options.pop("namespace", None)
        super().__init__(pool, **options)


class Unguarded(lmcache.PoolConnector):
    def __init__(self, pool, **options):
        super().__init__(pool, **options)
        self._lock = contextlib.nullcontext()


class TalksAfterClose(lmcache.PoolConnector):
    def close(self):
        if self._closed:
            return
        self.submit_batch_exists(["key"])
        self.left_over = super().drain_completions()
        super().close()

    def drain_completions(self):
        return self.left_over


class LeavesWhenClosed(lmcache.PoolConnector):
    def close(self):
        pass
