// Session: one client, on a thread of its own.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ipc/protocol.h"
#include "ipc/wire.h"
#include "server/session_channel.h"
#include "server/shared_spaces.h"

namespace kvpool::server {

struct SessionParts {
  pool::PoolImpl* pool = nullptr;
  SharedSpaces* spaces = nullptr;
  int stop = -1;  // readable: end, when what is in flight has ended
  std::uint64_t deadline_ns = 0;
  std::string refusal;  // not empty: this is all that the client is told
  std::function<void(const std::string&)> log;
  std::string client;  // who it is, for the log
};

// Threads: done from any; all else is its own.
class Session {
 public:
  Session(Descriptor socket, SessionParts parts);
  ~Session();  // waits for its end

  bool done() const { return done_.load(std::memory_order_acquire); }

 private:
  // Why it ends; empty: it does not.
  using End = std::string;

  void Run();
  End SayHello();
  End Work();
  End StepChannels(bool& moved);
  End ReceiveMessages();
  End Handle(const ipc::MessageHeader& header, std::span<const std::byte> question);
  void Finish();

  struct Reply {
    std::vector<std::byte> bytes;
    std::vector<int> descriptors;
    Descriptor owned;  // of these, one that is closed when it is sent
  };
  Result<Reply> Carry(ipc::MessageType type, std::span<const std::byte> question);
  Result<Reply> OpenSpace(std::span<const std::byte> question);
  Result<Reply> Presence(std::span<const std::byte> question);
  Result<Reply> OpenChannel(std::span<const std::byte> question);
  Result<Reply> CloseChannel(std::span<const std::byte> question);
  Result<Reply> AddRegion(std::span<const std::byte> question);
  Result<Reply> RemoveRegion(std::span<const std::byte> question);
  bool Send(std::uint32_t number, ipc::MessageType type, const Result<Reply>& reply);

  const SessionParts parts_;
  Descriptor socket_;
  std::vector<std::byte> received_;
  std::vector<Descriptor> descriptors_;
  std::vector<Space> spaces_;
  Regions regions_;
  std::uint64_t region_bytes_ = 0;
  std::uint32_t next_number_ = 1;  // of a channel or a region: none is used twice
  std::map<std::uint32_t, std::unique_ptr<SessionChannel>> channels_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace kvpool::server
