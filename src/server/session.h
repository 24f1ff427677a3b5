// Session: one client, on a thread of its own: its hello, its messages, its sleep.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/log_event.h"
#include "base/mutex.h"
#include "ipc/protocol.h"
#include "ipc/wire.h"
#include "server/grants.h"
#include "server/roster.h"

namespace kvpool::server {

struct SessionParts {
  pool::PoolImpl* pool = nullptr;
  SharedSpaces* spaces = nullptr;
  std::uint64_t client_number = 0;  // no other client has it
  Peer peer;
  Access access;        // what it may do
  int stop = -1;        // readable: end, when what is in flight has ended
  std::string refusal;  // not empty: this is all that the client is told
  Log log;
  std::string client;                       // who it is, for the log
  Roster* roster = nullptr;                 // null: nobody keeps one
  pool::LeaseBudget* leases = nullptr;      // of all clients; null: nobody counts
  DescriptorShares* descriptors = nullptr;  // the tenants'; the same
  SharedLimit::Taken place;                 // among the clients
  SharedLimit::Taken connection;            // its descriptors
  // What the daemon says of itself, for operators. Empty: this client is none.
  std::function<std::string()> status;
};

// Threads: done from any; all else is its own.
class Session {
 public:
  Session(Descriptor socket, SessionParts parts);
  ~Session();  // waits for its end

  const Peer& peer() const { return parts_.peer; }
  const Access& access() const { return parts_.access; }
  // Ends it as `stop` does. Threads: any.
  void SendAway();

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

  Result<Reply> StatusReply(std::span<const std::byte> question) const;
  bool Send(std::uint32_t number, ipc::MessageType type, const Result<Reply>& reply);

  const SessionParts parts_;
  Mutex away_mutex_;  // of the end of away_, which its own thread alone looks at otherwise
  Descriptor away_;
  Descriptor socket_;
  std::vector<std::byte> received_;
  std::vector<Descriptor> descriptors_;
  Grants grants_;
  std::optional<Roster::Place> place_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace kvpool::server
