#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "base/limits.h"
#include "base/units.h"
#include "config/problem.h"
#include "config/text.h"

namespace kvpool::config {
namespace {

constexpr std::uint64_t kMaxQuotaBytes = std::uint64_t{1} << 58;  // of as many devices as there are

// Of a Unix user or group, as a name or a number.
bool IsAccount(const std::string& text) {
  if (text.empty() || text.size() > kMaxUserNameBytes || !IsUtf8(text)) return false;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (std::all_of(text.begin(), text.end(), is_digit)) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && number != ~std::uint32_t{0};  // which means "none" to the kernel
  }
  return std::none_of(text.begin(), text.end(),
                      [](unsigned char c) { return c < ' ' || c == 0x7f; });
}

class TenantChecker {
 public:
  TenantChecker(const std::vector<TenantConfig>& tenants, std::vector<Problem>& problems)
      : tenants_(tenants), problems_(problems) {}

  void Run() {
    if (tenants_.size() > kMaxTenants) {
      Add("", "{} tenants are more than the limit of {}: leave some out", tenants_.size(),
          kMaxTenants);
      return;
    }
    std::set<std::string> names;
    for (std::size_t i = 0; i < tenants_.size(); ++i) {
      const TenantConfig& tenant = tenants_[i];
      const std::string key = fmt::format("tenant[{}].", i);
      const std::string owner = Title("tenant", i, tenant.name);
      std::string problem = ProblemOfName(fmt::format("tenant {}", i + 1), tenant.name);
      if (!problem.empty()) problems_.push_back({key + "name", std::move(problem)});
      if (!tenant.name.empty() && !names.insert(tenant.name).second) {
        Add(key + "name", "{}: another tenant has this name: names are unique in a pool", owner);
      }
      CheckTenant(tenant, key, owner);
    }
  }

 private:
  template <class... Args>
  void Add(std::string key, fmt::format_string<Args...> format, Args&&... args) {
    problems_.push_back({std::move(key), fmt::format(format, std::forward<Args>(args)...)});
  }

  void CheckTenant(const TenantConfig& tenant, const std::string& key, const std::string& owner) {
    if (tenant.users.empty() && tenant.groups.empty()) {
      Add(key + "users", "{}: it has no users and no groups: name those who are of this tenant",
          owner);
    }
    CheckAccounts(tenant.users, "user", users_, key + "users", owner);
    CheckAccounts(tenant.groups, "group", groups_, key + "groups", owner);
    if (tenant.quota_bytes && *tenant.quota_bytes < kSlabBytes) {
      Add(key + "quota",
          "{}: a quota of {} holds no context: write at least what one context takes, and never "
          "less than {}",
          owner, FormatBytes(*tenant.quota_bytes), FormatBytes(kSlabBytes));
    } else if (tenant.quota_bytes && *tenant.quota_bytes > kMaxQuotaBytes) {
      Add(key + "quota", "{}: quota {} is above the limit of {}: leave it out, there is none then",
          owner, FormatBytes(*tenant.quota_bytes), FormatBytes(kMaxQuotaBytes));
    }
    if (tenant.weight < 1 || tenant.weight > kMaxTenantWeight) {
      Add(key + "weight", "{}: weight is {} and must be from 1 to {}", owner, tenant.weight,
          kMaxTenantWeight);
    }
    CheckReaders(tenant, key + "readers", owner);
  }

  // `taken`: by whom, of those before it.
  void CheckAccounts(const std::vector<std::string>& accounts, const char* noun,
                     std::map<std::string, std::string>& taken, const std::string& key,
                     const std::string& owner) {
    if (accounts.size() > kMaxTenantMembers) {
      Add(key, "{}: {} {}s are more than the limit of {}: name a group of them", owner,
          accounts.size(), noun, kMaxTenantMembers);
      return;
    }
    for (const std::string& account : accounts) {
      if (!IsAccount(account)) {
        Add(key, "{}: \"{}\" is neither the name nor the number of a {}: correct it", owner,
            Printable(account), noun);
        continue;
      }
      const auto [other, fresh] = taken.try_emplace(account, owner);
      if (fresh) continue;
      Add(key, "{}: {} \"{}\" is of {} already: a {} is of one tenant", owner, noun,
          Printable(account), other->second, noun);
    }
  }

  void CheckReaders(const TenantConfig& tenant, const std::string& key, const std::string& owner) {
    const std::set<std::string> readers(tenant.readers.begin(), tenant.readers.end());
    if (readers.size() != tenant.readers.size()) Add(key, "{}: a reader is named twice", owner);
    for (const std::string& reader : readers) {
      const auto same = [&](const TenantConfig& other) { return other.name == reader; };
      if (reader == tenant.name) {
        Add(key, "{}: it reads its own spaces anyway: leave it out of readers", owner);
      } else if (std::none_of(tenants_.begin(), tenants_.end(), same)) {
        Add(key, "{}: no tenant is named \"{}\": correct it or add the tenant", owner,
            Printable(reader));
      }
    }
  }

  const std::vector<TenantConfig>& tenants_;
  std::vector<Problem>& problems_;
  std::map<std::string, std::string> users_;
  std::map<std::string, std::string> groups_;
};

}  // namespace

void CheckTenants(const std::vector<TenantConfig>& tenants, std::vector<Problem>& problems) {
  TenantChecker(tenants, problems).Run();
}

}  // namespace kvpool::config
