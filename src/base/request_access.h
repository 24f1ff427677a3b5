// RequestAccess: opens a request's private parts to who carries it out, and to nobody else.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "kvpool/request.h"

namespace kvpool {

class RequestAccess {
 public:
  static std::vector<Status>& Results(Request& request) { return request.results_; }
  static void*& OperationOf(Request& request) { return request.operation_; }
  static std::atomic<std::uint32_t>& LayersReady(GetRequest& get) { return get.layers_ready_; }
  // Where LayersReady looks instead, as long as it is not null: it may be another process' word.
  static std::atomic<const std::atomic<std::uint32_t>*>& Progress(GetRequest& get) {
    return get.progress_;
  }
  // Where the engine writes the same, too: never read. Null: nowhere.
  static std::atomic<std::uint32_t>*& Mirror(GetRequest& get) { return get.mirror_; }
  static std::vector<Segment>& Views(GetRequest& get) { return get.views_; }
  static std::vector<std::size_t>& ViewBegin(GetRequest& get) { return get.view_begin_; }
  static std::vector<std::uint64_t>& BlockBytes(GetRequest& get) { return get.block_bytes_; }
};

}  // namespace kvpool
