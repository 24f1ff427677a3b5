#include "tests/crash/worker.h"

#include <cstdio>
#include <cstdlib>

namespace kvpool::crash {
namespace {

[[noreturn]] void Die(const std::string& sentence) {
  std::fprintf(stderr, "crash_load: %s\n", sentence.c_str());
  std::_Exit(4);
}

}  // namespace

Worker::Worker(Pool& pool, Log& log, const History& before, std::uint32_t number, const Load& load)
    : pool_(pool), log_(log), load_(load), random_(std::random_device{}()) {
  for (const SpaceSpec& spec : Specs()) {
    auto space = pool_.OpenSpace(spec);
    if (!space) Die(space.error().message);
    spaces_.push_back(*space);
  }
  auto channel = pool_.OpenChannel();
  if (!channel) Die(channel.error().message);
  channel_ = std::move(*channel);
  contexts_.resize(load.contexts);
  for (std::uint32_t i = 0; i < load.contexts; ++i) {
    Context& context = contexts_[i];
    context.id = {number, i};
    context.ages = load.age && i % 3 == 1;
    for (std::uint32_t block = 0; block < kBlocks; ++block) {
      context.names.push_back(KeyOf(context.id, block));
      const auto known = before.keys.find(context.names.back());
      const KeyState state = known == before.keys.end() ? KeyState{} : known->second;
      context.last.push_back(state.last);
      context.present.push_back(state.visible);
      context.durable.push_back(false);
    }
    context.keys.assign(context.names.begin(), context.names.end());
  }
}

void Worker::Step() {
  Context& context = contexts_[random_() % contexts_.size()];
  const std::uint64_t dice = random_() % 100;
  if (context.lease) {
    if (dice < 20) LetGo(context);
  } else if (context.ages) {
    LetAge(context);
  } else if (dice < 45) {
    Put(context, random_() % 3 == 0);
  } else if (dice < 65) {
    Read(context);
  } else if (dice < 80) {
    Drop(context);
  } else if (dice < 90) {
    Flush(context);
  } else if (load_.hold && context.id.number % 16 == 0) {
    Hold(context);
  }
}

void Worker::Complete(Request& request) {
  Status taken = Status::kInvalid;
  if (auto* put = dynamic_cast<PutRequest*>(&request)) taken = channel_->Submit(*put);
  if (auto* get = dynamic_cast<GetRequest*>(&request)) taken = channel_->Submit(*get);
  if (auto* drop = dynamic_cast<DropRequest*>(&request)) taken = channel_->Submit(*drop);
  if (auto* flush = dynamic_cast<FlushRequest*>(&request)) taken = channel_->Submit(*flush);
  if (taken != Status::kOk) Die("a request was refused");
  Request* done = nullptr;
  while (channel_->Poll({&done, 1}) == 0) channel_->Wait(std::chrono::seconds(1));
}

void Worker::Aim(Context& context) {
  const std::uint64_t bytes = BlockBytes(context.id);
  bytes_.resize(bytes * kBlocks);
  segments_.clear();
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    segments_.push_back({bytes_.data() + i * bytes, bytes});
  }
}

// What an earlier process has put is dropped first: its age would begin before the log's.
void Worker::LetAge(Context& context) {
  if (context.put_here) return Read(context);
  Drop(context);
  Put(context, false);
  context.put_here = true;
}

void Worker::Put(Context& context, bool durable) {
  Aim(context);
  std::string lines;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    const std::uint64_t version = ++context.last[i];
    FillContent(context.names[i], version, {segments_[i].data, segments_[i].bytes});
    lines += "P " + context.names[i] + " " + std::to_string(version) + "\n";
  }
  log_.Write(lines);
  PutRequest put;
  put.space = spaces_[SpaceOf(context.id)];
  put.keys = context.keys;
  put.from = segments_;
  put.ordinal = 0;
  put.durable = durable;
  Complete(put);
  lines.clear();
  const std::string now = std::to_string(NowMs());
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    if (put.result(i) != Status::kOk) continue;
    context.present[i] = context.last[i];
    context.durable[i] = put.durable;
    const std::string named = " " + context.names[i] + " " + std::to_string(context.last[i]);
    lines += "V" + named + " " + now + "\n";
    if (put.durable || load_.early_acknowledgement) lines += "D" + named + "\n";
  }
  if (!lines.empty()) log_.Write(lines);
}

void Worker::Check(const Context& context, std::size_t block,
                   std::span<const std::byte> bytes) const {
  const std::uint64_t version = VersionOf(context.names[block], bytes);
  if (version != 0 && version == context.present[block]) return;
  Die("wrong bytes in " + context.names[block] + ": version " + std::to_string(version) +
      " and not " + std::to_string(context.present[block]));
}

void Worker::Read(Context& context) {
  Aim(context);
  GetRequest get;
  get.space = spaces_[SpaceOf(context.id)];
  get.keys = context.keys;
  get.into = segments_;
  Complete(get);
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    if (get.result(i) == Status::kOk) Check(context, i, {segments_[i].data, segments_[i].bytes});
  }
}

void Worker::Drop(Context& context) {
  std::string lines;
  for (const std::string& name : context.names) lines += "X " + name + "\n";
  log_.Write(lines);
  DropRequest drop;
  drop.space = spaces_[SpaceOf(context.id)];
  drop.keys = context.keys;
  Complete(drop);
  context.present.assign(kBlocks, 0);
  context.durable.assign(kBlocks, false);
}

void Worker::Flush(Context& context) {
  FlushRequest flush;
  flush.space = spaces_[SpaceOf(context.id)];
  flush.keys = context.keys;
  Complete(flush);
  std::string lines;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    if (flush.result(i) != Status::kOk) continue;
    context.durable[i] = true;
    lines += "D " + context.names[i] + " " + std::to_string(context.present[i]) + "\n";
  }
  if (!lines.empty()) log_.Write(lines);
}

void Worker::Hold(Context& context) {
  Aim(context);
  auto get = std::make_unique<GetRequest>();
  get->space = spaces_[SpaceOf(context.id)];
  get->keys = context.keys;
  get->into = segments_;
  get->lease = true;
  Complete(*get);
  std::string lines;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    if (get->result(i) == Status::kOk && context.durable[i])
      lines += "H " + context.names[i] + "\n";
  }
  if (!lines.empty()) log_.Write(lines);
  context.lease = std::move(get);
}

void Worker::LetGo(Context& context) {
  std::string lines;
  for (const std::string& name : context.names) lines += "R " + name + "\n";
  log_.Write(lines);
  channel_->Release(*context.lease);
  context.lease.reset();
}

}  // namespace kvpool::crash
