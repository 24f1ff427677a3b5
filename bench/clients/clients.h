// What a daemon gives to several engine processes at once: each with a context of its own, in the
// geometry of one of three models, read again and again.
//
//   auto result = RunClientsBench({.socket = "/run/kvpool/pool.sock", .clients = 8});
//   WriteJson("out.json", result->header, RowsOf(*result));
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/compare/bench.h"
#include "kvpool/result.h"

namespace kvpool::bench {

constexpr std::uint32_t kMostClients = 64;  // that a daemon takes

struct ClientsOptions {
  std::filesystem::path socket;
  std::uint32_t clients = 8;  // 1 to kMostClients
  // Of each client; rounded down to its blocks, of which it has one at least. None: what leaves the
  // pool half empty and three quarters of the memory free, 1 GiB at most.
  std::optional<std::uint64_t> context_bytes;
  double seconds = 5;  // of reading together; longer where that is less than four gets a client
  std::uint64_t seed = 1;
  std::function<void(const Progress&)> progress;
};

// One client of the run.
struct ClientFigures {
  Geometry geometry;
  std::uint64_t context_bytes = 0;
  double alone_bytes_per_s = 0;  // while the others were idle
  double bytes_per_s = 0;        // while all of them read
  double cpu_s_per_gib = 0;      // of the client's process, meanwhile
};

struct ClientsResult {
  Header header;
  std::vector<ClientFigures> clients;
  double seconds = 0;             // of reading together
  double device_bytes_per_s = 0;  // read bandwidth of all devices that serve, as configured
  double put_bytes_per_s = 0;     // all clients at once

  double SumBytesPerS() const;
  double FractionOfDevices() const;
  // Of the client that got least. 1: what everybody would get by equal parts.
  double WorstOverFairShare() const;
  // 1: together they get what each gets alone, on average.
  double SumOverAlone() const;
};

// The three models of the paper, whose geometries the clients have in turn.
const std::vector<Geometry>& ClientGeometries();

// Starts the processes, measures, drops what was stored, ends the processes. What the clients got
// is compared with what they put. kInvalid (the options), kNotFound (no daemon), kNoSpace (the pool
// does not keep the contexts, or there is no memory), kCorrupt (other bytes than were put),
// kIoError. Threads: the caller has no others that hold locks: processes are forked.
Result<ClientsResult> RunClientsBench(const ClientsOptions& options);

// A row a client, then one for all.
std::vector<Row> RowsOf(const ClientsResult& result);

}  // namespace kvpool::bench
