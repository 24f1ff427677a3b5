#include "server/server.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "server/session.h"

namespace kvpool::server {
namespace {

sockaddr_un AddressOf(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

Result<void> RemoveStale(const std::filesystem::path& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) {
    return Fail(Status::kInvalid,
                fmt::format("{} is there and no socket: name another path", path.string()));
  }
  if (status.st_uid != ::geteuid()) {
    return Fail(Status::kInvalid,
                fmt::format("{} is a socket of user {}: name another path, or have it removed",
                            path.string(), status.st_uid));
  }
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = AddressOf(path);
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return Fail(Status::kBusy,
                fmt::format("a daemon listens at {} already: stop it, or name another path",
                            path.string()));
  }
  ::unlink(path.c_str());
  return {};
}

}  // namespace

Server::Server(pool::PoolImpl& pool, ServerOptions options)
    : pool_(pool),
      options_(std::move(options)),
      places_(ipc::kMaxClients, std::max<std::size_t>(1, pool.tenants().size())),
      operator_places_(ipc::kMaxOperators, 1),
      descriptors_(pool.tenants().size()),
      spaces_(pool, SharedSpaces::MostByDescriptors(), &descriptors_),
      leases_(pool.memory_bytes() / ipc::kAllLeasesDivisor) {}

Result<std::unique_ptr<Server>> Server::Listen(pool::PoolImpl& pool, ServerOptions options) {
  auto tenants = Tenants::Make(pool.tenants());
  if (!tenants) return tl::unexpected(tenants.error());
  std::unique_ptr<Server> server(new Server(pool, std::move(options)));
  server->tenants_ = std::move(*tenants);
  server->stop_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (auto bound = server->Bind(); !bound) return tl::unexpected(bound.error());
  return server;
}

Result<void> Server::Bind() {
  const std::filesystem::path& path = options_.socket;
  if (path.empty() || path.string().size() > kMaxSocketBytes) {
    return Fail(Status::kInvalid, "the socket needs a path of 1 to 107 bytes: set pool.socket");
  }
  if (auto free = RemoveStale(path); !free) return free;
  listener_ = Descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un address = AddressOf(path);
  const mode_t before = ::umask(0117);  // 0660 from the first moment on
  bound_ =
      ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const int error = errno;
  ::umask(before);
  constexpr int kBacklog = 64;
  if (bound_ && stop_ && ::listen(listener_.get(), kBacklog) == 0) return {};
  return Fail(Status::kIoError,
              fmt::format("no socket can be made at {} ({}): name a folder that is there and where "
                          "this user may write",
                          path.string(), std::strerror(error)),
              error);
}

Server::~Server() {
  listener_ = Descriptor();
  if (bound_) ::unlink(options_.socket.c_str());
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof one);
  sessions_.clear();
}

void Server::Serve(int stop, int timeout_ms) {
  for (;;) {
    pollfd events[2]{{stop, POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    const int ready = ::poll(events, 2, timeout_ms);
    Reap();
    if (ready == 0 || events[0].revents != 0) return;
    if (events[1].revents != 0) Accept();
  }
}

std::size_t Server::sessions() {
  Reap();
  return sessions_.size();
}

void Server::Reap() {
  std::erase_if(sessions_, [](const auto& session) { return session->done(); });
}

Result<Access> Server::AccessOf(const Peer& peer) const {
  struct stat own{};
  const bool there = ::stat(options_.socket.c_str(), &own) == 0;
  return tenants_.AccessOf(peer, there ? own.st_gid : ~gid_t{0});
}

Result<void> Server::Change(std::span<const TenantConfig> tenants) {
  auto changed = Tenants::Make(tenants);
  if (!changed) return tl::unexpected(changed.error());
  tenants_ = std::move(*changed);
  pool_.ChangeTenants(tenants);
  for (const auto& session : sessions_) {
    auto access = AccessOf(session->peer());
    if (access) access->only_asks = session->access().only_asks;
    if (!access || *access != session->access()) session->SendAway();
  }
  return {};
}

// Whoever looks after the daemon can ask it also when its clients have taken all there is for them.
Result<void> Server::Admit(SessionParts& parts, bool is_operator) {
  const ClientTenant& tenant = parts.access.tenant;
  const bool may_use = parts.access.MayUse().has_value();
  if (may_use) parts.place = TakeFrom(places_, tenant, 1);
  if (parts.place) {
    auto connection = descriptors_.Take(tenant, DescriptorShares::kOfConnection);
    if (connection) parts.connection = std::move(*connection);
    if (connection) return {};
    parts.place = nullptr;
    if (!is_operator) return tl::unexpected(connection.error());
  }
  parts.access.only_asks = may_use;
  if (is_operator) parts.place = TakeFrom(operator_places_, {}, 1);
  if (parts.place) return {};
  const std::string of = tenant.number == 0 ? "" : fmt::format(" of tenant \"{}\"", tenant.name);
  return Fail(Status::kNoSpace,
              fmt::format("the daemon takes {} clients, and no more{} now: close one",
                          ipc::kMaxClients, of));
}

void Server::Accept() {
  Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) return;
  SessionParts parts{.pool = &pool_,
                     .spaces = &spaces_,
                     .client_number = ++clients_,
                     .stop = stop_.get(),
                     .log = options_.log,
                     .roster = &roster_,
                     .leases = &leases_,
                     .descriptors = &descriptors_};
  const auto peer = options_.peer(socket.get());
  if (!peer) return;
  parts.peer = *peer;
  const bool is_operator = peer->uid == 0 || peer->uid == ::geteuid();
  // Who is refused holds a thread for as long as a hello may take.
  const std::size_t most = 2 * ipc::kMaxClients + (is_operator ? 2 * ipc::kMaxOperators : 0);
  if (sessions_.size() >= most) return;
  auto access = AccessOf(*peer);
  if (access) parts.access = std::move(*access);
  const auto admitted =
      access ? Admit(parts, is_operator) : Result<void>(tl::unexpected(access.error()));
  if (!admitted) parts.refusal = admitted.error().message;
  if (is_operator) parts.status = options_.status;
  const std::string& tenant = parts.access.tenant.name;
  parts.client = fmt::format("{} (user {}{})", peer->pid, peer->uid,
                             tenant.empty() ? "" : fmt::format(", tenant \"{}\"", tenant));
  sessions_.push_back(std::make_unique<Session>(std::move(socket), std::move(parts)));
}

}  // namespace kvpool::server
