// Keys and spaces: what names a block.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kvpool {

// Opaque bytes, 1 to 512 of them: vLLM's 32-byte chain hash, LMCache's string, ... Not owned: the
// bytes must stay until the request that names them has completed. A block's key covers every token
// from the start of its context to its own end, so a hit is always a leading run of keys.
using Key = std::string_view;

// Everything that must match for two blocks to be interchangeable. Two specs that differ in any
// field are two spaces, and a key in one is never found in the other.
struct SpaceSpec {
  std::string model;        // name and revision
  std::string dtype;        // of the KV: "bf16", "fp8_e4m3", ...
  std::string layout;       // how the engine orders bytes inside a block
  std::string layer_group;  // hybrid models: "full", "sliding-128", ...
  std::string rank;         // tensor/pipeline/context parallel rank
  std::string engine;       // kind and format version
  std::string tenant_salt;  // keeps apart what the other fields do not: chosen by the engine
  // The tenant whose blocks these are: its quota counts them. A daemon that has tenants takes empty
  // for the client's own, and lets it read another's where it is one of that tenant's `readers`.
  std::string owner = {};

  // A block is `layers` equal runs of bytes, layer 0 first; 1 where that is unknown. Drives the
  // order of retrieval and LayersReady().
  std::uint32_t layers = 1;
};

// A handle on an open space: valid for the pool that gave it, for as long as the pool is open.
struct Space {
  std::uint32_t id = 0;
};

}  // namespace kvpool
