// Bytes and descriptors through a Unix stream socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/descriptor.h"
#include "base/limits.h"

namespace kvpool::ipc {

inline constexpr std::size_t kMaxDescriptors = kMaxDevices;  // with one message

enum class Received : std::uint8_t {
  kSome,
  kNothing,   // now; only of a call that does not wait
  kEnd,       // the other side has gone
  kTooMany,   // descriptors
  kTimedOut,  // of a socket with a time to wait
};

// Sends all of `bytes`, the descriptors with the first of them. `wait` off: never blocks, and what
// does not fit is an error, as a peer that has gone is. No SIGPIPE. Threads: one a socket.
bool SendAll(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors,
             bool wait);

// Receives up to `room`; `got` is how many bytes came. Descriptors are appended to `descriptors`,
// up to kMaxDescriptors there.
Received ReceiveSome(int socket, std::span<std::byte> room, bool wait, std::size_t& got,
                     std::vector<Descriptor>& descriptors);

// Wakes the other side of a bell, and forgets its calls. Neither waits.
void Ring(int bell);
bool Hush(int bell);  // false: the other side has gone

}  // namespace kvpool::ipc
