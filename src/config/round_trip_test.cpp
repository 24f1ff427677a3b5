// ToToml and Parse are each other's inverse on every valid configuration.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "base/limits.h"
#include "kvpool/config.h"

namespace kvpool {
namespace {

std::string AnyName(std::size_t index) {
  const auto tail =
      *rc::gen::container<std::string>(rc::gen::elementOf(std::string("abcXYZ019._-")));
  return std::to_string(index) + tail.substr(0, 60);
}

// Text with what needs care in TOML: quotes, backslashes, control characters, non-ASCII.
std::string AnyText() {
  const auto pieces = *rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(
      std::vector<std::string>{"a", "\"", "\\", "\n", "\t", "\x7f", "\x01", "\xc3\xa9",
                               "\xf0\x9f\x98\x80", "#", "'", "=", "]", "u0041", " "}));
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return text;
}

double AnyRate() {
  if (*rc::gen::arbitrary<bool>()) return 1e6 * *rc::gen::inRange(1, 100'000);
  const double mantissa = 1 + *rc::gen::arbitrary<std::uint32_t>() / 4294967296.0;
  return std::ldexp(mantissa, *rc::gen::inRange(0, 49));
}

DeviceConfig AnyDevice(std::size_t index) {
  DeviceConfig device;
  device.name = AnyName(index);
  device.kind = static_cast<DeviceKind>(*rc::gen::inRange(0, 6));
  device.capacity_bytes = kSlabBytes * static_cast<std::uint64_t>(*rc::gen::inRange(1, 1 << 20));
  device.read_bytes_per_s = AnyRate();
  device.write_bytes_per_s = AnyRate();
  device.faults = AnyText();
  if (device.kind == DeviceKind::kMemory) {
    device.numa_node = *rc::gen::inRange(-1, 8);
  } else if (device.kind == DeviceKind::kSpdk) {
    device.address = "trtype:TCP traddr:" + std::to_string(index) + AnyText();
  } else {
    device.path = "/" + std::to_string(index) + AnyText();
  }
  if (device.kind != DeviceKind::kMemory)
    device.write_budget_per_day = *rc::gen::arbitrary<std::uint64_t>() >> *rc::gen::inRange(12, 64);
  if (IsRawDrive(device.kind) && *rc::gen::arbitrary<bool>()) device.capacity_bytes = 0;
  if (device.kind == DeviceKind::kNvme || device.kind == DeviceKind::kDrive) {
    device.polled = *rc::gen::arbitrary<bool>();
  }
  if (device.kind == DeviceKind::kFile) device.accept_buffered = *rc::gen::arbitrary<bool>();
  if (*rc::gen::arbitrary<bool>()) {
    device.slow = SlowConfig{AnyRate(), *rc::gen::inRange(0, 1'000'000) / 7.0,
                             *rc::gen::arbitrary<std::uint64_t>() >> 1};
    const auto steps = *rc::gen::inRange<std::size_t>(0, 3);
    for (std::size_t i = 0; i < steps; ++i) {
      device.slow->later.push_back({static_cast<double>(i) * 7.5, AnyRate()});
    }
  }
  return device;
}

std::vector<TenantConfig> AnyTenants() {
  std::vector<TenantConfig> tenants(*rc::gen::inRange<std::size_t>(0, 4));
  for (std::size_t i = 0; i < tenants.size(); ++i) {
    TenantConfig& tenant = tenants[i];
    tenant.name = AnyName(i);
    tenant.users = {std::to_string(i), "u\xc3\xa9\"'\\" + std::to_string(i)};
    if (*rc::gen::arbitrary<bool>()) tenant.groups = {"g" + std::to_string(i)};
    if (*rc::gen::arbitrary<bool>()) {
      tenant.quota_bytes = kSlabBytes + (*rc::gen::arbitrary<std::uint64_t>() >> 8);
    }
    tenant.weight = *rc::gen::inRange<std::uint32_t>(1, kMaxTenantWeight + 1);
    if (i > 0) tenant.readers = {tenants[i - 1].name};
  }
  return tenants;
}

std::vector<GpuConfig> AnyGpus() {
  std::vector<GpuConfig> gpus(*rc::gen::inRange<std::size_t>(0, 4));
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    GpuConfig& gpu = gpus[i];
    gpu.name = AnyName(i);
    gpu.kind = *rc::gen::element(GpuKind::kCuda, GpuKind::kNull);
    const bool null = gpu.kind == GpuKind::kNull;
    if (null || *rc::gen::arbitrary<bool>()) gpu.bytes_per_s = AnyRate();
    if (null) gpu.latency_us = *rc::gen::inRange(0, 1'000'000) / 7.0;
    if (!null) gpu.ordinal = static_cast<std::uint32_t>(i);
    gpu.numa_node = *rc::gen::inRange(-1, 8);
  }
  return gpus;
}

Config AnyConfig() {
  Config config;
  config.name = AnyName(0);
  config.policy = AnyName(1);
  config.unit_bytes = std::uint64_t{kMinSlotBytes} << *rc::gen::inRange(0, 6);
  config.placement = *rc::gen::element(Placement::kBandwidth, Placement::kEqual);
  config.admission = *rc::gen::element(Admission::kAll, Admission::kSecondSight);
  config.adapt = *rc::gen::arbitrary<bool>();
  config.verify = *rc::gen::arbitrary<bool>();
  if (config.verify && *rc::gen::arbitrary<bool>()) config.catalog = "/catalog" + AnyText();
  config.lanes = *rc::gen::inRange<std::uint32_t>(0, 1025);
  config.deadline = std::chrono::milliseconds(*rc::gen::inRange(1, 86'400'001));
  config.create_if_missing = *rc::gen::arbitrary<bool>();
  if (*rc::gen::arbitrary<bool>()) config.metrics = "9464" + AnyText();
  const auto devices = *rc::gen::inRange<std::size_t>(1, 9);
  for (std::size_t i = 0; i < devices; ++i) config.devices.push_back(AnyDevice(i));
  // Prefixes of the list of devices nest.
  const auto links = *rc::gen::inRange<std::size_t>(0, 4);
  for (std::size_t i = 0; i < links; ++i) {
    LinkConfig link{AnyName(i), AnyRate(), {}};
    const auto members = *rc::gen::inRange<std::size_t>(1, devices + 1);
    for (std::size_t d = 0; d < members; ++d) link.devices.push_back(config.devices[d].name);
    config.links.push_back(link);
  }
  config.gpus = AnyGpus();
  config.tenants = AnyTenants();
  return config;
}

RC_GTEST_PROP(ConfigRoundTrip, ParseGivesBackWhatToTomlWrote, ()) {
  const Config config = AnyConfig();
  const auto problems = config.Validate();
  if (!problems.empty()) RC_FAIL(problems.front());
  const auto parsed = Config::Parse(config.ToToml());
  if (!parsed) RC_FAIL(parsed.error().message + "\n" + config.ToToml());
  RC_ASSERT(*parsed == config);
}

RC_GTEST_PROP(ConfigRoundTrip, ABrokenFileIsRefusedWithASentence, ()) {
  std::string text = AnyConfig().ToToml();
  const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
  text.resize(at);
  const auto parsed = Config::Parse(text);
  // A cut may fall between two tables or keys and leave a shorter valid file.
  if (parsed) {
    RC_ASSERT(parsed->Validate().empty());
  } else {
    RC_ASSERT(!parsed.error().message.empty());
  }
}

}  // namespace
}  // namespace kvpool
