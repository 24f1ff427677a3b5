// Puts a context into a pool of memory and two files, and brings it back from all three at once.
#include <kvpool/pool.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

template <class T>
T Must(kvpool::Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::exit(1);
}

// Submits and waits. An engine would poll between its own steps, or wait on event_fd().
template <class AnyRequest>
void Complete(kvpool::Channel& channel, AnyRequest& request) {
  kvpool::Request* done = nullptr;
  if (channel.Submit(request) != kvpool::Status::kOk) std::exit(1);
  while (channel.Poll({&done, 1}) == 0) channel.Wait(std::chrono::seconds(1));
}

int main() {
  constexpr std::size_t kBlocks = 32, kBytes = 2 << 20;
  std::string folder = (std::filesystem::temp_directory_path() / "kvpool-embed-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return 1;
  kvpool::Config config{.create_if_missing = true};
  config.devices = {
      {"ram", kvpool::DeviceKind::kMemory, "", 64 << 20, -1, 4e9, 4e9},
      {"ssd0", kvpool::DeviceKind::kFile, folder + "/0", 64 << 20, -1, 2e9, 1e9, true},
      {"ssd1", kvpool::DeviceKind::kFile, folder + "/1", 64 << 20, -1, 1e9, 1e9, true}};
  const auto pool = Must(kvpool::Pool::Open(config));
  const auto channel = Must(pool->OpenChannel());
  const auto memory = Must(pool->Allocate(2 * kBlocks * kBytes));
  std::byte* const kv = memory->bytes().data();  // stored from the first half, read into the second
  for (std::size_t i = 0; i < kBlocks * kBytes; ++i) kv[i] = std::byte(i * 2654435761 >> 24);
  std::vector<std::string> names(kBlocks);
  std::vector<kvpool::Segment> from, into;
  for (std::size_t i = 0; i < kBlocks; ++i) {
    names[i] = "tokens 0 to " + std::to_string(16 * (i + 1));
    from.push_back({kv + i * kBytes, kBytes});
    into.push_back({kv + (kBlocks + i) * kBytes, kBytes});
  }
  const std::vector<kvpool::Key> keys(names.begin(), names.end());
  kvpool::PutRequest put;
  kvpool::GetRequest get;
  put.space = get.space = Must(pool->OpenSpace({.model = "llama-3.1-8b", .layers = 32}));
  put.keys = get.keys = keys;
  put.ordinal = 0;
  put.from = from;
  get.into = into;
  Complete(*channel, put);
  Complete(*channel, get);
  const bool back = std::memcmp(kv, kv + kBlocks * kBytes, kBlocks * kBytes) == 0;
  std::printf("%zu blocks, %s\n", pool->Match(get.space, keys), back ? "every byte" : "damaged");
  std::filesystem::remove_all(folder);
  return back ? 0 : 1;
}
