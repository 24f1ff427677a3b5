#include "device/fault_script.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "base/random.h"

namespace kvpool::device {
namespace {

std::string_view Trim(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\n");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
}

// Cuts the part before `separator` off the front, trimmed.
std::string_view Cut(std::string_view& text, char separator) {
  const auto end = std::min(text.find(separator), text.size());
  const auto part = Trim(text.substr(0, end));
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

template <class Value>
bool ReadNumber(std::string_view text, Value& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

tl::unexpected<Error> Malformed(std::string_view part, std::string_view advice) {
  return Fail(Status::kInvalid,
              fmt::format("the fault script does not make sense at \"{}\": {}", part, advice));
}

template <class Value>
struct Name {
  std::string_view text;
  Value value;
};
constexpr std::array kOps{Name<Op>{"read", Op::kRead}, Name<Op>{"write", Op::kWrite},
                          Name<Op>{"flush", Op::kFlush}};
constexpr std::array kFaults{
    Name<Fault>{"error", Fault::kError}, Name<Fault>{"short", Fault::kShort},
    Name<Fault>{"flip", Fault::kFlip},   Name<Fault>{"hang", Fault::kHang},
    Name<Fault>{"hold", Fault::kHold},   Name<Fault>{"disappear", Fault::kDisappear}};

template <class Names, class Value>
bool Find(const Names& names, std::string_view text, Value& value) {
  for (const auto& name : names) {
    if (name.text != text) continue;
    value = name.value;
    return true;
  }
  return false;
}

Result<void> ReadParameter(std::string_view text, FaultRule& rule) {
  std::string_view value = text;
  const auto name = Cut(value, '=');
  bool good = false;
  if (name == "after") {
    good = ReadNumber(value, rule.after);
  } else if (name == "every") {
    good = ReadNumber(value, rule.every) && rule.every > 0;
  } else if (name == "count") {
    good = ReadNumber(value, rule.count);
  } else if (name == "chance") {
    good = ReadNumber(value, rule.chance) && rule.chance >= 0 && rule.chance <= 1;
  } else if (name == "ms" && rule.fault == Fault::kHold) {
    good = ReadNumber(value, rule.hold_ms) && rule.hold_ms <= 1'000'000'000;
  } else {
    return Malformed(text, "a fault takes after=, every=, count= and chance=, and hold also ms=");
  }
  if (!good)
    return Malformed(
        text, "after=, count= and ms= take whole numbers, every= one above 0, chance= 0 to 1");
  return {};
}

Result<FaultRule> ReadRule(std::string_view text) {
  FaultRule rule;
  std::string_view rest = text;
  std::string_view fault = Cut(rest, ' ');
  if (fault.find('.') != fault.npos) {
    Op op{};
    if (!Find(kOps, Cut(fault, '.'), op))
      return Malformed(text, "the operations are read, write and flush");
    rule.op = op;
  }
  if (!Find(kFaults, fault, rule.fault)) {
    return Malformed(text, "the faults are error, short, flip, hang, hold and disappear");
  }
  if (rule.op && !rule.Matches(*rule.op)) return Malformed(text, "a flush has no bytes to change");
  while (!rest.empty()) {
    const auto parameter = Cut(rest, ' ');
    if (parameter.empty()) continue;
    if (auto read = ReadParameter(parameter, rule); !read) return tl::unexpected(read.error());
  }
  return rule;
}

}  // namespace

bool FaultRule::Matches(Op other) const {
  const bool needs_bytes = fault == Fault::kShort || fault == Fault::kFlip;
  if (needs_bytes && other == Op::kFlush) return false;
  return !op || *op == other;
}

Result<FaultScript> ParseFaults(std::string_view text) {
  FaultScript script;
  while (!text.empty()) {
    const auto statement = Cut(text, ';');
    if (statement.empty()) continue;
    if (statement.starts_with("seed=")) {
      if (!ReadNumber(statement.substr(5), script.seed))
        return Malformed(statement, "a seed is a whole number");
      continue;
    }
    auto rule = ReadRule(statement);
    if (!rule) return tl::unexpected(rule.error());
    script.rules.push_back(*rule);
  }
  return script;
}

FaultPlan::FaultPlan(FaultScript script) : script_(std::move(script)) {
  states_.resize(script_.rules.size());
}

bool FaultPlan::Strikes(const FaultRule& rule, State& state) {
  ++state.seen;
  if (state.seen <= rule.after || (state.seen - rule.after) % rule.every != 0) return false;
  if (state.struck >= rule.count) return false;
  return rule.chance >= 1 ||
         static_cast<double>(RandomAt(script_.seed, drawn_++) >> 11) * 0x1p-53 < rule.chance;
}

Fault FaultPlan::Next(Op op, std::uint64_t& detail) {
  Fault fault = Fault::kNone;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const FaultRule& rule = script_.rules[i];
    if (!rule.Matches(op) || !Strikes(rule, states_[i]) || fault != Fault::kNone) continue;
    fault = rule.fault;
    ++states_[i].struck;
    detail = RandomAt(script_.seed, drawn_++);
    if (fault == Fault::kHold) detail = rule.hold_ms;
  }
  return fault;
}

}  // namespace kvpool::device
