#include "server/tenants.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace kvpool::server {
namespace {

using Numbers = std::map<std::uint32_t, std::size_t>;

std::optional<std::uint32_t> AsNumber(const std::string& text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// `look_up`: getpwnam_r or getgrnam_r.
template <class Entry, class LookUp>
std::optional<Entry> Find(const std::string& name, std::vector<char>& buffer, LookUp look_up) {
  constexpr std::size_t kMostBytes = 1 << 20;
  buffer.resize(1024);
  for (;;) {
    Entry entry{};
    Entry* found = nullptr;
    const int error = look_up(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (error != ERANGE || buffer.size() >= kMostBytes) {
      return found == nullptr ? std::nullopt : std::optional(entry);
    }
    buffer.resize(buffer.size() * 2);
  }
}

std::optional<std::uint32_t> UserNumber(const std::string& name) {
  if (const auto number = AsNumber(name)) return number;
  std::vector<char> buffer;
  const auto entry = Find<passwd>(name, buffer, ::getpwnam_r);
  return entry ? std::optional<std::uint32_t>(entry->pw_uid) : std::nullopt;
}

std::optional<std::uint32_t> GroupNumber(const std::string& name) {
  if (const auto number = AsNumber(name)) return number;
  std::vector<char> buffer;
  const auto entry = Find<group>(name, buffer, ::getgrnam_r);
  return entry ? std::optional<std::uint32_t>(entry->gr_gid) : std::nullopt;
}

Result<void> Enter(Numbers& numbers, const char* noun, const std::string& name,
                   std::optional<std::uint32_t> number, std::size_t tenant,
                   std::span<const TenantConfig> configs) {
  if (!number) {
    return Fail(Status::kInvalid,
                fmt::format("tenant \"{}\": there is no {} \"{}\" on this machine: add it, or "
                            "correct the pool file",
                            configs[tenant].name, noun, name));
  }
  const auto [other, fresh] = numbers.try_emplace(*number, tenant);
  if (fresh || other->second == tenant) return {};
  return Fail(Status::kInvalid,
              fmt::format("{} {} is of two tenants, \"{}\" and \"{}\": leave it in one", noun,
                          *number, configs[other->second].name, configs[tenant].name));
}

}  // namespace

bool Peer::IsIn(gid_t group) const {
  return gid == group || std::find(groups.begin(), groups.end(), group) != groups.end();
}

std::optional<Peer> PeerOf(int socket) {
  ucred credentials{};
  socklen_t bytes = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
    return std::nullopt;
  }
  Peer peer{.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid, .groups = {}};
  peer.groups.resize(256);
  for (;;) {
    bytes = static_cast<socklen_t>(peer.groups.size() * sizeof(gid_t));
    const bool whole =
        ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &bytes) == 0;
    const bool longer = !whole && errno == ERANGE && bytes / sizeof(gid_t) > peer.groups.size();
    peer.groups.resize(whole || longer ? bytes / sizeof(gid_t) : 0);
    if (!longer) return peer;
  }
}

Result<GrantedSpec> Access::Grant(SpaceSpec spec) const {
  if (auto may = MayUse(); !may) return tl::unexpected(may.error());
  if (!tenants) {
    if (spec.owner.empty()) return GrantedSpec{std::move(spec), true};
    return Fail(Status::kInvalid,
                "this daemon has no tenants and its spaces no owners: leave owner empty");
  }
  if (spec.owner.empty() || spec.owner == tenant.name) {
    spec.owner = tenant.name;
    return GrantedSpec{std::move(spec), true};
  }
  if (std::find(readable.begin(), readable.end(), spec.owner) == readable.end()) {
    spec.owner = tenant.name + "/" + spec.owner;  // no tenant's name has a slash
  }
  return GrantedSpec{std::move(spec), false};
}

Result<void> Access::MayUse() const {
  if (only_asks) {
    return Fail(Status::kNoSpace,
                "the daemon has as many clients as it takes, and this one may ask for information "
                "only: close another");
  }
  if (!tenants || tenant.number != 0) return {};
  return Fail(
      Status::kForbidden,
      "this user is of none of the pool's tenants and may ask for information only: name it "
      "in users of a [[tenant]]");
}

Result<Tenants> Tenants::Make(std::span<const TenantConfig> configs) {
  Tenants tenants;
  tenants.configs_.assign(configs.begin(), configs.end());
  for (std::size_t i = 0; i < configs.size(); ++i) {
    for (const std::string& user : configs[i].users) {
      auto entered = Enter(tenants.by_user_, "user", user, UserNumber(user), i, configs);
      if (!entered) return tl::unexpected(entered.error());
    }
    for (const std::string& group : configs[i].groups) {
      auto entered = Enter(tenants.by_group_, "group", group, GroupNumber(group), i, configs);
      if (!entered) return tl::unexpected(entered.error());
    }
  }
  return tenants;
}

Result<Access> Tenants::AccessOf(const Peer& peer, gid_t group) const {
  Access access;
  const bool owner = peer.uid == 0 || peer.uid == ::geteuid();
  if (configs_.empty()) {
    if (owner || peer.IsIn(group)) return access;
    return Fail(Status::kForbidden,
                "this user may not use the daemon: have it put into the socket's group");
  }
  access.tenants = true;
  access.sees_all = owner;
  std::optional<std::size_t> found;
  if (const auto user = by_user_.find(peer.uid); user != by_user_.end()) found = user->second;
  for (const auto& [number, tenant] : by_group_) {
    if (by_user_.contains(peer.uid) || !peer.IsIn(number)) continue;
    found = std::min(found.value_or(tenant), tenant);
  }
  if (!found && !owner) {
    return Fail(Status::kForbidden,
                "this user is of none of the pool's tenants: have it named in users of a "
                "[[tenant]], or put into one of its groups");
  }
  if (!found) return access;
  const TenantConfig& own = configs_[*found];
  access.tenant = {static_cast<std::uint32_t>(*found + 1), own.name, own.weight};
  for (const TenantConfig& other : configs_) {
    if (std::find(other.readers.begin(), other.readers.end(), own.name) != other.readers.end()) {
      access.readable.push_back(other.name);
    }
  }
  return access;
}

}  // namespace kvpool::server
