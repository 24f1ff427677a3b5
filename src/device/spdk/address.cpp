#include "device/spdk/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

namespace kvpool::device {
namespace {

constexpr std::size_t kMaxNqnBytes = 223;
constexpr std::string_view kKnownKeys = "trtype, traddr, adrfam, trsvcid, subnqn, hostnqn and ns";

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower;
}

template <class T>
std::optional<T> Number(std::string_view text, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0000:00:04.0" of that or "00:04.0"; empty when it is neither.
std::string PciAddress(std::string_view text) {
  const std::string full = text.size() == 7 ? "0000:" + std::string(text) : Lower(text);
  if (full.size() != 12 || full[4] != ':' || full[7] != ':' || full[10] != '.') return "";
  const std::string_view parts = full;
  const bool numbers =
      Number<unsigned>(parts.substr(0, 4), 16) && Number<unsigned>(parts.substr(5, 2), 16) &&
      Number<unsigned>(parts.substr(8, 2), 16) && Number<unsigned>(parts.substr(11, 1), 8);
  return numbers ? Lower(full) : "";
}

bool IsIp(int family, const std::string& text) {
  in6_addr address;
  return ::inet_pton(family, text.c_str(), &address) == 1;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<SpdkAddress> Parse() {
    for (std::string_view rest = text_; problem_.empty();) {
      rest.remove_prefix(std::min(rest.find_first_not_of(" \t\n"), rest.size()));
      if (rest.empty()) break;
      const std::string_view word = rest.substr(0, rest.find_first_of(" \t\n"));
      Take(word);
      rest.remove_prefix(word.size());
    }
    if (problem_.empty()) Check();
    if (problem_.empty()) return address_;
    return Fail(Status::kInvalid,
                fmt::format("the address \"{}\" {}; write one such as \"trtype:PCIe "
                            "traddr:0000:00:04.0 ns:1\" or \"trtype:TCP traddr:192.0.2.7 "
                            "trsvcid:4420 subnqn:nqn.2024-01.org.example:kv ns:1\"",
                            text_, problem_));
  }

 private:
  void Take(std::string_view word) {
    const auto colon = word.find_first_of(":=");
    const std::string key = Lower(word.substr(0, colon));
    const std::string value(colon == word.npos ? "" : word.substr(colon + 1));
    if (value.empty()) {
      problem_ = fmt::format("has \"{}\" where key:value is wanted", word);
    } else if (key == "trtype") {
      TakeTransport(value);
    } else if (key == "ns") {
      address_.namespace_id = Number<std::uint32_t>(value).value_or(0);
      if (address_.namespace_id == 0) problem_ = fmt::format("has no namespace \"{}\"", value);
    } else if (std::string* text = Text(key)) {
      *text = value;
    } else {
      problem_ = fmt::format("has an unknown key \"{}\" (known are {})", key, kKnownKeys);
    }
  }

  void TakeTransport(const std::string& value) {
    const std::string name = Lower(value);
    transport_given_ = true;
    if (name == "pcie") {
      address_.transport = SpdkTransport::kPcie;
    } else if (name == "tcp") {
      address_.transport = SpdkTransport::kTcp;
    } else if (name == "rdma") {
      address_.transport = SpdkTransport::kRdma;
    } else {
      problem_ = fmt::format("has the transport {} and kvpool takes PCIe, TCP and RDMA", value);
    }
  }

  std::string* Text(std::string_view key) {
    if (key == "traddr") return &address_.traddr;
    if (key == "trsvcid") return &address_.trsvcid;
    if (key == "subnqn") return &address_.subnqn;
    if (key == "hostnqn") return &address_.hostnqn;
    if (key == "adrfam") return &family_;
    return nullptr;
  }

  void Check() {
    if (!transport_given_) {
      problem_ = "does not say which transport (trtype)";
    } else if (address_.traddr.empty()) {
      problem_ = "does not say where (traddr)";
    } else if (address_.transport == SpdkTransport::kPcie) {
      CheckPcie();
    } else {
      CheckFabric();
    }
  }

  void CheckPcie() {
    address_.trsvcid.clear();
    address_.subnqn.clear();
    address_.hostnqn.clear();
    const std::string canonical = PciAddress(address_.traddr);
    if (canonical.empty()) problem_ = fmt::format("has no PCI address: {}", address_.traddr);
    address_.traddr = canonical;
  }

  void CheckFabric() {
    if (address_.trsvcid.empty()) address_.trsvcid = "4420";
    const bool four = IsIp(AF_INET, address_.traddr);
    const std::string family = Lower(family_);
    if (!four && !IsIp(AF_INET6, address_.traddr)) {
      problem_ = fmt::format("has no IP address: {}", address_.traddr);
    } else if (!family.empty() && family != (four ? "ipv4" : "ipv6")) {
      problem_ = fmt::format("calls {} an address of family {}", address_.traddr, family_);
    } else if (Number<std::uint16_t>(address_.trsvcid).value_or(0) == 0) {
      problem_ = fmt::format("has no port: trsvcid {}", address_.trsvcid);
    } else if (address_.subnqn.empty()) {
      problem_ = "does not say which subsystem of the target (subnqn)";
    } else if (std::max(address_.subnqn.size(), address_.hostnqn.size()) > kMaxNqnBytes) {
      problem_ = fmt::format("has a name of more than {} bytes", kMaxNqnBytes);
    }
  }

  const std::string_view text_;
  SpdkAddress address_;
  std::string family_;
  bool transport_given_ = false;
  std::string problem_;
};

}  // namespace

std::string SpdkAddress::ControllerId() const {
  if (transport == SpdkTransport::kPcie) return "trtype:PCIe traddr:" + traddr;
  return fmt::format("trtype:{} adrfam:{} traddr:{} trsvcid:{} subnqn:{}",
                     transport == SpdkTransport::kTcp ? "TCP" : "RDMA",
                     traddr.find(':') == traddr.npos ? "IPv4" : "IPv6", traddr, trsvcid, subnqn);
}

Result<SpdkAddress> ParseSpdkAddress(std::string_view text) { return Parser(text).Parse(); }

}  // namespace kvpool::device
