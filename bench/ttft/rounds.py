"""The order of the benchmark, and what an answer has to be for its time to count."""
import pathlib

import contenders
import drives

LOADING = ("fs", "kvpool", "kvpool-direct")  # compared at most: with all pairs; the others run in the first rounds only


class Wrong(Exception):
    """An answer that is not what was asked for: its time would mean nothing."""


def hit_tokens(percent, tokens, chunk_tokens):
    """The leading tokens that are asked to be found: whole chunks, and never all tokens."""
    return round(percent / 100 * ((tokens - 1) // chunk_tokens)) * chunk_tokens


def plan(methods, hits, pairs, repeat):
    """(round, hit in percent, method) in the order in which they run. Rounds go through the methods to and fro, so
    that no method is always the first. The largest hit has all pairs of LOADING, all else
    `repeat` rounds."""
    for at in range(pairs):
        for hit in hits:
            for method in methods if at % 2 == 0 else methods[::-1]:
                often = method in LOADING and hit == max(hits)
                if (often or at < repeat) and (method != "recompute" or hit == min(hits)):
                    yield at, hit, method


def check(row, answers):
    """`answers` collects what each prompt was answered with. Wrong: another hit than was asked for, or other bytes."""
    if row["cached"] != row["expected"]:
        raise Wrong(f"{row['method']} found {row['cached']} tokens where {row['expected']} are stored")
    if row["method"] == "recompute":
        return
    said = row["token"], row["logprob"]
    first = answers.setdefault((row["context"], row["tail"], row["hit"]), (row["method"], said))
    if first[1] != said:
        raise Wrong(f"{row['method']} and {first[0]} answer the same prompt with {said} and {first[1]}")


class Rounds:
    """Starts what it can, says what it leaves out and why, and yields rows."""

    def __init__(self, name, place, chosen, say=print):
        self.name, self.place, self.chosen, self.say = name, place, chosen, say
        self.engines = {}

    def open(self, methods):
        chosen = self.chosen
        mine = [name for name in methods if name in LOADING]
        if mine:
            self.say(f"{self.name}: {chosen.contexts} contexts are computed and stored by {' and '.join(mine)}")
            contenders.fill(self.place, mine, chosen.contexts, chosen.tokens, chosen.chunk)
        for name in methods:
            try:
                self.engines[name] = contenders.start(self.place, name, chosen.tokens, chosen.chunk)
                if name in contenders.LMCACHE:
                    contenders.store(self.engines[name], chosen.contexts, chosen.tokens)
                self.ask(name, 0, max(chosen.hits), 0, "first")  # a process's first load is not like the others
            except (contenders.Failed, RuntimeError) as error:
                self.engines.pop(name, None)
                self.say(f"{self.name}: {name} is left out: {error}")

    def ask(self, method, at, hit, context, tail):
        chosen = self.chosen
        tokens = hit_tokens(hit, chosen.tokens, chosen.chunk)
        drives.make_cold()
        answer = self.engines[method].ask(context, chosen.tokens, tokens, tail)
        return {"bench": "ttft", "bed": self.name, "method": method, "round": at, "hit": hit, "context": context,
                "tail": tail, "tokens": chosen.tokens, "expected": 0 if method == "recompute" else tokens, **answer}

    def rows(self):
        answers, chosen = {}, self.chosen
        for at, hit, method in plan(list(self.engines), chosen.hits, chosen.pairs, chosen.repeat):
            if method not in self.engines:
                continue
            row = self.ask(method, at, hit, at % chosen.contexts, f"{at}-{hit}")
            try:
                check(row, answers)
                yield row
            except Wrong as error:
                if method not in contenders.LMCACHE:
                    raise
                self.say(f"{self.name}: {method} is left out from here on: {error}")
                self.engines.pop(method).close()

    def close(self):
        for engine in self.engines.values():
            engine.kill() if engine.process.poll() is not None else engine.close()


def model(folder):
    """Writes the model where it is not there yet. Returns its folder."""
    made = pathlib.Path(folder) / "model"
    if not made.exists():
        lmcache = contenders.lmcache
        lmcache.call(contenders.vllm_python(), contenders.HERE / "model.py", made,
                     env={"PYTHONPATH": str(contenders.ROOT / "tests/engines/vllm")})
    return made
