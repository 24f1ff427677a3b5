#include "bench/trace/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <queue>

#include "base/check.h"

namespace kvpool::trace {
namespace {

// SplitMix64 (Steele, Lea, Flood, 2014). The standard library's distributions differ between
// implementations; these do not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t Bits() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  double Unit() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }  // [0, 1)
  double Exponential(double mean) { return -std::log1p(-Unit()) * mean; }
  double LogNormal(double median, double sigma) {
    const double radius = std::sqrt(-2 * std::log1p(-Unit()));
    return median * std::exp(sigma * radius * std::cos(6.283185307179586 * Unit()));
  }

 private:
  std::uint64_t state_;
};

// Gives every prefix of every stream of tokens its ids: one a block, in order of appearance.
class BlockIds {
 public:
  std::uint64_t Fresh() { return next_++; }

  // Ids of the whole blocks of a shared beginning, such as a system prompt.
  const std::vector<std::uint64_t>& Shared(std::uint64_t name, std::uint64_t blocks) {
    auto& ids = shared_[name];
    while (ids.size() < blocks) ids.push_back(Fresh());
    return ids;
  }

 private:
  std::uint64_t next_ = 0;
  std::map<std::uint64_t, std::vector<std::uint64_t>> shared_;
};

struct Session {
  double next_arrival_s = 0;
  std::uint64_t number = 0;  // breaks ties
  Random random{0};
  std::uint64_t turns_left = 0;
  std::uint64_t tokens = 0;        // said so far
  std::vector<std::uint64_t> ids;  // of its whole blocks, as far as they were sent
};

struct LaterFirst {
  bool operator()(const Session& a, const Session& b) const {
    return std::pair(a.next_arrival_s, a.number) > std::pair(b.next_arrival_s, b.number);
  }
};

class Generation {
 public:
  explicit Generation(const GeneratorOptions& options) : options_(options), random_(options.seed) {
    double sum = 0;
    for (std::uint32_t rank = 1; rank <= options.system_prompts; ++rank) sum += 1.0 / rank;
    double below = 0;
    for (std::uint32_t rank = 1; rank <= options.system_prompts; ++rank) {
      popularity_.push_back(below += 1.0 / rank / sum);
    }
    ArriveNext();
  }

  void Run(const std::function<bool(const TraceRequest&)>& take) {
    while (!sessions_.empty()) {
      Session session = sessions_.top();
      sessions_.pop();
      if (session.tokens == 0) {
        Open(session);
        ArriveNext();
      }
      if (!take(Turn(session))) return;
      if (--session.turns_left == 0 || session.tokens >= options_.max_input_tokens) continue;
      session.next_arrival_s += session.random.LogNormal(options_.think_s, options_.think_spread);
      if (session.next_arrival_s <= options_.duration_s) sessions_.push(std::move(session));
    }
  }

 private:
  std::uint64_t Length(Random& random, std::uint64_t median) {
    if (median == 0) return 0;
    const double tokens = random.LogNormal(static_cast<double>(median), options_.length_spread);
    return static_cast<std::uint64_t>(
        std::clamp(tokens, 1.0, static_cast<double>(options_.max_input_tokens)));
  }

  void ArriveNext() {
    clock_s_ += random_.Exponential(1 / options_.arrivals_per_s);
    if (opened_ == options_.sessions || clock_s_ > options_.duration_s) return;
    Session session;
    session.next_arrival_s = clock_s_;
    session.number = opened_++;
    session.random = Random(random_.Bits());
    sessions_.push(std::move(session));
  }

  void Open(Session& session) {
    Random& random = session.random;
    session.turns_left = 1;
    if (random.Unit() >= options_.single_turn) {
      const double stop = 1 / options_.turns;
      while (session.turns_left < 10'000 && random.Unit() >= stop) ++session.turns_left;
    }
    std::uint64_t name = 0;
    if (!popularity_.empty()) {
      const auto at = std::lower_bound(popularity_.begin(), popularity_.end(), random.Unit());
      name = static_cast<std::uint64_t>(at - popularity_.begin()) + 1;
      session.tokens = SharedLength(name, options_.system_prompt_tokens);
      Share(session, name);
    }
    if (random.Unit() < options_.document_share) AddDocument(session, name);
  }

  void AddDocument(Session& session, std::uint64_t prompt) {
    if (options_.documents == 0) {
      session.tokens += Length(session.random, options_.document_tokens);
      return;
    }
    // Squared, so that some documents are asked about more often than others.
    const double place = session.random.Unit() * session.random.Unit();
    const auto document = static_cast<std::uint64_t>(place * options_.documents);
    const std::uint64_t name = (document + 1) << 32 | prompt;
    session.tokens +=
        SharedLength(document + 1 + (std::uint64_t{1} << 63), options_.document_tokens);
    Share(session, name);
  }

  // What has the same name has the same length.
  std::uint64_t SharedLength(std::uint64_t name, std::uint64_t median) {
    Random random(options_.seed ^ name * 0x9e3779b97f4a7c15ULL);
    return Length(random, median);
  }

  // The session's blocks from where it stands up to session.tokens are those of `name`.
  void Share(Session& session, std::uint64_t name) {
    session.tokens = std::min(session.tokens, options_.max_input_tokens);
    const std::uint64_t whole = session.tokens / options_.block_tokens;
    const std::uint64_t have = session.ids.size();
    const auto& ids = ids_.Shared(name, whole - have);
    session.ids.insert(session.ids.end(), ids.begin(),
                       ids.begin() + static_cast<std::ptrdiff_t>(whole - have));
  }

  TraceRequest Turn(Session& session) {
    session.tokens += Length(session.random, options_.message_tokens);
    session.tokens = std::clamp<std::uint64_t>(session.tokens, 1, options_.max_input_tokens);
    while (session.ids.size() < session.tokens / options_.block_tokens) {
      session.ids.push_back(ids_.Fresh());
    }
    TraceRequest request;
    request.timestamp_ms = std::floor(session.next_arrival_s * 1000);
    request.input_tokens = session.tokens;
    request.output_tokens = Length(session.random, options_.output_tokens);
    request.hash_ids = session.ids;
    // The block that is not full yet: with the next turn's tokens it is another one.
    if (session.tokens % options_.block_tokens != 0) request.hash_ids.push_back(ids_.Fresh());
    session.tokens += request.output_tokens;
    return request;
  }

  const GeneratorOptions& options_;
  Random random_;
  std::vector<double> popularity_;  // of system prompts, summed up
  BlockIds ids_;
  double clock_s_ = 0;
  std::uint64_t opened_ = 0;
  std::priority_queue<Session, std::vector<Session>, LaterFirst> sessions_;
};

}  // namespace

std::vector<std::string> Validate(const GeneratorOptions& options) {
  std::vector<std::string> problems;
  const auto require = [&](bool holds, std::string_view what) {
    if (!holds) problems.emplace_back(what);
  };
  const auto share = [](double value) { return value >= 0 && value <= 1; };
  const auto positive = [](double value) { return value > 0 && value < 1e12; };
  const auto spread = [](double value) { return value >= 0 && value <= 5; };
  require(positive(options.arrivals_per_s), "The arrival rate must be above 0.");
  require(positive(options.duration_s), "The duration must be above 0 seconds.");
  require(options.turns >= 1 && options.turns <= 10'000,
          "The mean number of turns must be 1 to 10000.");
  require(share(options.single_turn), "The share of single-turn sessions must be 0 to 1.");
  require(positive(options.think_s), "The think time must be above 0 seconds.");
  require(spread(options.think_spread), "The spread of think times must be 0 to 5.");
  require(spread(options.length_spread), "The spread of lengths must be 0 to 5.");
  require(share(options.document_share), "The share of sessions with a document must be 0 to 1.");
  require(options.block_tokens > 0, "A block must have at least 1 token.");
  require(options.max_input_tokens > 0 &&
              options.max_input_tokens / std::max(1u, options.block_tokens) < (1u << 20),
          "The longest input must be 1 token to 1048575 blocks.");
  return problems;
}

void Generate(const GeneratorOptions& options,
              const std::function<bool(const TraceRequest&)>& take) {
  KVPOOL_CHECK(Validate(options).empty());
  Generation(options).Run(take);
}

Trace Generate(const GeneratorOptions& options) {
  Trace trace;
  Generate(options, [&](const TraceRequest& request) {
    trace.requests.push_back(request);
    return true;
  });
  return trace;
}

}  // namespace kvpool::trace
