#!/usr/bin/env python3
"""One client of a running LMCache server, by LMCache's own bench client: stores prompts, or finds and fetches them.

    client.py store|load RPC_URL FILE    FILE keeps the digests of what was stored

Prints one JSON line: chunks, hit, and right: how many of the hit chunks have the digest they were stored with.
"""
import json
import pathlib
import sys

from lmcache.cli.commands.bench.server_bench.client import ServerBenchClient
from lmcache.cli.commands.bench.server_bench.config import BenchConfig

SHAPE = "(2,512,16,2,64):float16:8"  # 8 layers, 2 heads of 64: 4 KiB a token
SEQUENCES = range(4)
TOKENS = 1024


def store(client, request):
    digests = client.compute_checksums(request, 0, request.num_full_tokens)
    stored = client.store(request, start_token=0, token_count=request.num_full_tokens)
    if not stored.succeeded:
        raise SystemExit(f"the server did not store prompt {request.sequence_id}")
    return digests


def load(client, request):
    lookup = client.lookup(request)
    tokens = lookup.hit_chunks * request.chunk_size
    if not tokens:
        return []
    client.zero_destination(request, 0, request.num_full_tokens)
    if not client.retrieve(request, start_token=0, token_count=tokens).succeeded:
        raise SystemExit(f"the server did not give prompt {request.sequence_id} that it said it has")
    return client.compute_checksums(request, 0, tokens)


def main():
    operation, url, file = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    client = ServerBenchClient(BenchConfig(
        rpc_url=url, http_url="", mode="cpu", transfer_mode="auto", tp_size=1, use_mla=False, num_tokens=TOKENS,
        kvcache_shape_spec=SHAPE, num_blocks=512, block_size=16), lambda line: print(line, file=sys.stderr))
    client.start()
    known = json.loads(file.read_text()) if operation == "load" else {}
    chunks, hit, right = 0, 0, 0
    for sequence in SEQUENCES:
        request = client.create_request(sequence, f"{operation}-{sequence}", operation)
        chunks += request.total_chunks
        if operation == "store":
            known[str(sequence)] = store(client, request)
        else:
            digests = load(client, request)
            hit += len(digests)
            right += sum(mine == theirs for mine, theirs in zip(digests, known[str(sequence)]))
        client.end_session(request)
    client.close()
    if operation == "store":
        file.write_text(json.dumps(known))
    print(json.dumps({"chunks": chunks, "hit": hit, "right": right}))


if __name__ == "__main__":
    main()
