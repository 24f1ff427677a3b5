// Server: the daemon's side: who may connect, and a session for each who does.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "base/log_event.h"
#include "pool/pool_impl.h"
#include "server/roster.h"
#include "server/shared_spaces.h"

namespace kvpool::server {

struct ServerOptions {
  std::filesystem::path socket;
  Log log = [](const LogEvent&) {};  // who came, who went and why
  // What the daemon says of itself to root and its own user. Threads: any. Empty: nothing.
  std::function<std::string()> status = {};
};

class Session;

// Threads: its owner's, but for stop and clients.
class Server {
 public:
  // Listens. A socket that a daemon left behind is taken; one where a daemon listens (kBusy), that
  // is somebody else's or no socket (kInvalid), or that cannot be made (kIoError) is not. The pool
  // outlives the server.
  static Result<std::unique_ptr<Server>> Listen(pool::PoolImpl& pool, ServerOptions options);
  // Ends every session when its requests in flight have ended, and removes the socket.
  ~Server();

  // Takes clients until `stop` is readable, or for `timeout_ms` (-1: for ever).
  void Serve(int stop, int timeout_ms = -1);
  std::size_t sessions();
  // Who has said a proper hello and is not gone. Threads: any.
  std::vector<ClientInfo> clients() const { return roster_.List(); }

 private:
  Server(pool::PoolImpl& pool, ServerOptions options);
  Result<void> Bind();
  void Accept();
  void Reap();

  pool::PoolImpl& pool_;
  const ServerOptions options_;
  SharedSpaces spaces_;
  Roster roster_;
  Descriptor listener_;
  Descriptor stop_;
  bool bound_ = false;
  std::vector<std::unique_ptr<Session>> sessions_;
};

}  // namespace kvpool::server
