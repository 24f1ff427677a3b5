// What python/bench/overhead.py times from Python, in C++: prints "name seconds" a line.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "kvpool/pool.h"

namespace {

using kvpool::Key;
using kvpool::Segment;

struct Bench {
  std::unique_ptr<kvpool::Pool> pool;
  kvpool::Space space;
  std::unique_ptr<kvpool::Channel> channel;
  std::shared_ptr<kvpool::Memory> memory;

  template <class AnyRequest>
  void Complete(AnyRequest& request, std::span<const Key> keys) const {
    request.space = space;
    request.keys = keys;
    kvpool::Request* done = nullptr;
    if (channel->Submit(request) != kvpool::Status::kOk) std::exit(1);
    while (channel->Poll({&done, 1}) == 0) channel->Wait(std::chrono::hours(1));
    if (request.result(0) != kvpool::Status::kOk) std::exit(1);
  }

  void Put(std::span<const Key> keys, std::span<const Segment> from) const {
    kvpool::PutRequest put;
    put.from = from;
    Complete(put, keys);
  }

  void Get(std::span<const Key> keys, std::span<const Segment> into) const {
    kvpool::GetRequest get;
    get.into = into;
    Complete(get, keys);
  }
};

template <class Body>
void Time(const char* name, int count, const Body& body) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) body();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::printf("%s %.9f\n", name, took.count() / count);
}

void Run(const Bench& bench) {
  constexpr std::uint64_t kSmall = 64 << 10, kLarge = 16 << 20;
  std::vector<std::string> names;
  for (int i = 0; i < 256; ++i)
    names.push_back("a key as long as a digest: " + std::to_string(1000 + i));
  const std::vector<Key> keys(names.begin(), names.end());
  std::byte* const data = bench.memory->bytes().data();
  const std::vector<Segment> small(keys.size(), {data, kSmall});
  const std::vector<Key> one = {"small"}, large = {"large"};
  const std::vector<Segment> small_one = {{data, kSmall}}, large_one = {{data, kLarge}};
  kvpool::DropRequest drop;
  bench.Put(keys, small);
  bench.Put(large, large_one);
  std::size_t matched = 0;
  Time("match_256", 2000, [&] { matched += bench.pool->Match(bench.space, keys); });
  Time("put_drop_64KiB", 1000, [&] {
    bench.Put(one, small_one);
    bench.Complete(drop, one);
  });
  bench.Put(one, small_one);
  Time("get_64KiB", 2000, [&] { bench.Get(one, small_one); });
  Time("get_256_x_64KiB", 50, [&] { bench.Get(keys, small); });
  Time("get_16MiB", 50, [&] { bench.Get(large, large_one); });
  if (matched != 2000 * keys.size()) std::exit(1);
  for (const std::vector<Key>& all : {keys, one, large}) bench.Complete(drop, all);
}

template <class T>
T Must(kvpool::Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::exit(1);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s POOL.toml\n", arguments[0]);
    return 2;
  }
  Bench bench;
  bench.pool = Must(kvpool::Pool::Open(Must(kvpool::Config::Load(arguments[1]))));
  bench.space = Must(bench.pool->OpenSpace({.model = "bench"}));
  bench.channel = Must(bench.pool->OpenChannel());
  bench.memory = Must(bench.pool->Allocate(16 << 20));
  Run(bench);
  return 0;
}
