// Server: the daemon's side: who may connect, and a session for each who does.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "base/log_event.h"
#include "base/shared_limit.h"
#include "pool/lease_budget.h"
#include "pool/pool_impl.h"
#include "server/descriptor_shares.h"
#include "server/roster.h"
#include "server/shared_spaces.h"
#include "server/tenants.h"

namespace kvpool::server {

struct ServerOptions {
  std::filesystem::path socket;
  Log log = [](const LogEvent&) {};  // who came, who went and why
  // Who has connected; nothing: it is sent away.
  std::function<std::optional<Peer>(int socket)> peer = PeerOf;
  // What the daemon says of itself to root and its own user. Threads: any. Empty: nothing.
  std::function<std::string()> status = {};
};

class Session;
struct SessionParts;

// Threads: its owner's, but for stop and clients.
class Server {
 public:
  // Listens. A socket that a daemon left behind is taken; one where a daemon listens (kBusy), that
  // is somebody else's or no socket (kInvalid), or that cannot be made (kIoError) is not. kInvalid,
  // too: tenants of users that this machine does not know. The pool outlives the server.
  static Result<std::unique_ptr<Server>> Listen(pool::PoolImpl& pool, ServerOptions options);
  // Ends every session when its requests in flight have ended, and removes the socket.
  ~Server();

  // Other users, groups, weights, quotas and readers of the pool's tenants, whose names and order
  // stay. Clients that may now do less or more are sent away, and come again by themselves. As
  // Tenants::Make; on failure nothing has changed.
  Result<void> Change(std::span<const TenantConfig> tenants);

  // Takes clients until `stop` is readable, or for `timeout_ms` (-1: for ever).
  void Serve(int stop, int timeout_ms = -1);
  std::size_t sessions();
  // Who has said a proper hello and is not gone. Threads: any.
  std::vector<ClientInfo> clients() const { return roster_.List(); }

 private:
  Server(pool::PoolImpl& pool, ServerOptions options);
  Result<void> Bind();
  void Accept();
  Result<Access> AccessOf(const Peer& peer) const;
  Result<void> Admit(SessionParts& parts, bool is_operator);
  void Reap();

  pool::PoolImpl& pool_;
  const ServerOptions options_;
  Tenants tenants_;
  SharedLimit places_;  // of clients
  SharedLimit operator_places_;
  DescriptorShares descriptors_;
  SharedSpaces spaces_;
  Roster roster_;
  pool::LeaseBudget leases_;  // of all clients
  Descriptor listener_;
  Descriptor stop_;
  bool bound_ = false;
  std::uint64_t clients_ = 0;  // that ever came: the number of the last
  std::vector<std::unique_ptr<Session>> sessions_;
};

}  // namespace kvpool::server
