// Arena: pieces of shared memory for as long as a request needs them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "ipc/client.h"

namespace kvpool::ipc {

// Takes regions as it needs them and keeps them until it goes. Threads: one.
class Arena {
 public:
  struct Options {
    RegionPurpose purpose = RegionPurpose::kArguments;
    std::uint64_t chunk_bytes = 0;  // of a region, at least
    std::uint64_t limit_bytes = 0;  // of all, but for a first piece that is larger
  };
  Arena(Client& client, const Options& options) : client_(client), options_(options) {}
  ~Arena();

  struct Piece {
    std::size_t chunk = 0;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;  // 0: none
  };
  // Aligned to a page. Nothing: it is all out, or there is no more memory.
  std::optional<Piece> Take(std::uint64_t bytes);
  void Give(const Piece& piece);

  std::byte* Address(const Piece& piece) const;
  std::uint32_t Region(const Piece& piece) const { return chunks_[piece.chunk].region->number; }
  bool unused() const { return out_bytes_ == 0; }

 private:
  struct Chunk {
    std::shared_ptr<ClientRegion> region;
    std::map<std::uint64_t, std::uint64_t> free;  // offset, bytes
  };
  std::optional<Piece> TakeFrom(std::size_t chunk, std::uint64_t bytes);

  Client& client_;
  const Options options_;
  std::vector<Chunk> chunks_;
  std::uint64_t bytes_ = 0;
  std::uint64_t out_bytes_ = 0;
};

}  // namespace kvpool::ipc
