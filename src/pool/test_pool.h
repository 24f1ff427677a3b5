// A small pool in a temporary folder, and blocks to put into it. For tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/limits.h"
#include "kvpool/pool.h"

namespace kvpool::pool {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "kvpool-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline DeviceConfig MemoryDevice(std::string name, std::uint64_t capacity, double rate = 4e9) {
  DeviceConfig device;
  device.name = std::move(name);
  device.kind = DeviceKind::kMemory;
  device.capacity_bytes = capacity;
  device.read_bytes_per_s = device.write_bytes_per_s = rate;
  return device;
}

inline DeviceConfig FileDevice(const TempDir& dir, std::string name, std::uint64_t capacity,
                               double rate = 1e9) {
  DeviceConfig device;
  device.path = dir.path() / name;
  device.name = std::move(name);
  device.kind = DeviceKind::kFile;
  device.capacity_bytes = capacity;
  device.read_bytes_per_s = device.write_bytes_per_s = rate;
  device.accept_buffered = true;  // the folder for temporary files may be anything
  return device;
}

// Blocks of one context: distinct keys, bytes that say which block and where.
struct Blocks {
  std::vector<std::string> names;
  std::vector<Key> keys;
  std::vector<std::byte> bytes;  // one after the other
  std::vector<Segment> segments;
  std::size_t block_bytes = 0;

  Blocks(const std::string& context, std::size_t count, std::size_t bytes_per_block,
         std::uint32_t seed = 1)
      : bytes(count * bytes_per_block), block_bytes(bytes_per_block) {
    std::uint32_t state = seed * 2654435761u + 12345;
    for (std::byte& byte : bytes) {
      state = state * 1664525 + 1013904223;
      byte = static_cast<std::byte>(state >> 24);
    }
    for (std::size_t i = 0; i < count; ++i) names.push_back(context + "/" + std::to_string(i));
    for (std::size_t i = 0; i < count; ++i) {
      keys.push_back(names[i]);
      segments.push_back({bytes.data() + i * bytes_per_block, bytes_per_block});
    }
  }
};

// Somewhere to read as many bytes into.
struct Room {
  std::vector<std::byte> bytes;
  std::vector<Segment> segments;
  explicit Room(const Blocks& blocks) : bytes(blocks.bytes.size()) {
    for (std::size_t i = 0; i < blocks.keys.size(); ++i) {
      segments.push_back({bytes.data() + i * blocks.block_bytes, blocks.block_bytes});
    }
  }
};

template <class AnyRequest>
void Complete(Channel& channel, AnyRequest& request) {
  ASSERT_EQ(channel.Submit(request), Status::kOk);
  Request* done = nullptr;
  ASSERT_TRUE(channel.Wait(std::chrono::seconds(30)));
  ASSERT_EQ(channel.Poll({&done, 1}), 1u);
  ASSERT_EQ(done, &request);
}

inline void Aim(GetRequest& get, Space space, const Blocks& blocks, Room& room) {
  get.space = space;
  get.keys = blocks.keys;
  get.into = room.segments;
}

inline std::vector<Status> Put(Channel& channel, Space space, const Blocks& blocks,
                               bool durable = false) {
  PutRequest put;
  put.space = space;
  put.keys = blocks.keys;
  put.from = blocks.segments;
  put.ordinal = 0;
  put.durable = durable;
  Complete(channel, put);
  return {put.results().begin(), put.results().end()};
}

inline std::vector<Status> Get(Channel& channel, Space space, const Blocks& blocks, Room& room) {
  GetRequest get;
  Aim(get, space, blocks, room);
  Complete(channel, get);
  return {get.results().begin(), get.results().end()};
}

inline std::vector<Status> Drop(Channel& channel, Space space, std::span<const Key> keys) {
  DropRequest drop;
  drop.space = space;
  drop.keys = keys;
  Complete(channel, drop);
  return {drop.results().begin(), drop.results().end()};
}

inline std::vector<Status> All(std::size_t count, Status status) {
  return std::vector<Status>(count, status);
}

}  // namespace kvpool::pool
