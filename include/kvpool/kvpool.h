/* kvpool in C: the same pool, for C and for every language that calls it. C99.
 *
 *   kvpool_error error;
 *   kvpool_pool* pool;
 *   if (kvpool_open("pool.toml", 0, &pool, &error) != KVPOOL_OK) return fail(error.message);
 *
 * What the calls promise stands in kvpool/pool.h, channel.h and request.h; here is what is
 * different. Link -lkvpool (pkg-config: kvpool; CMake: kvpool::c).
 *
 * Errors: a call that can fail returns a kvpool_status, and fills `error` where that is not NULL.
 * What a call gives out through a pointer is written on success only. No C++ exception leaves it.
 * Threads: a pool is for any thread, a channel for one at a time. After fork() the child has none
 * of the pool's threads: it may call nothing here with a handle of the parent. */
#ifndef KVPOOL_KVPOOL_H_
#define KVPOOL_KVPOOL_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define KVPOOL_API __attribute__((visibility("default")))
#else
#define KVPOOL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers of kvpool::Status, in a byte where there is one for each key. */
typedef enum kvpool_status {
  KVPOOL_OK = 0,
  KVPOOL_NOT_FOUND = 1,
  KVPOOL_EXISTS = 2,
  KVPOOL_NO_SPACE = 3,
  KVPOOL_INVALID = 4,
  KVPOOL_BUSY = 5,
  KVPOOL_TIMED_OUT = 6,
  KVPOOL_CANCELLED = 7,
  KVPOOL_IO_ERROR = 8,
  KVPOOL_CORRUPT = 9,
  KVPOOL_UNSUPPORTED = 10,
  KVPOOL_DECLINED = 11,
  KVPOOL_FORBIDDEN = 12
} kvpool_status;

typedef struct kvpool_error {
  kvpool_status status;
  int system_errno;   /* 0 where no system call was at fault */
  char message[1024]; /* one sentence: what is wrong, and what to do; cut where it is longer */
} kvpool_error;

typedef struct kvpool_pool kvpool_pool;
typedef struct kvpool_channel kvpool_channel;
typedef struct kvpool_memory kvpool_memory;
typedef uint32_t kvpool_space; /* valid for its pool, for as long as that is open */

/* Opaque bytes, 1 to 512 of them. */
typedef struct kvpool_key {
  const void* data;
  size_t bytes;
} kvpool_key;

/* The numbers of kvpool::MemoryKind. */
typedef enum kvpool_memory_kind {
  KVPOOL_HOST = 0,
  KVPOOL_GPU = 1 /* an address of the memory of a GPU that the pool file names: [[gpu]] */
} kvpool_memory_kind;

/* A run of bytes that a request reads from or writes into. Those of one request that are on a GPU
 * are all on the same one. What a put reads there has to be final for every stream when it is
 * submitted, and nothing may use what a get writes; what a get has brought is in place for every
 * stream. */
typedef struct kvpool_segment {
  void* data;
  uint64_t bytes;
  kvpool_memory_kind kind;
} kvpool_segment;

/* Two specs that differ in any field are two spaces. NULL is "". */
typedef struct kvpool_space_spec {
  const char* model;
  const char* dtype;
  const char* layout;
  const char* layer_group;
  const char* rank;
  const char* engine;
  const char* tenant_salt;
  const char* owner; /* a tenant; "": the client's own */
  uint32_t layers;   /* equal runs of bytes in a block, 1 to 1024; 1 where that is unknown */
} kvpool_space_spec;

/* "ok", "not found", ... */
KVPOOL_API const char* kvpool_status_text(kvpool_status status);
/* Of the library that runs: "0.1.0". */
KVPOOL_API const char* kvpool_version(void);

/* --- the pool --- */

/* Makes the files and the catalog that a pool file names. */
KVPOOL_API kvpool_status kvpool_create(const char* pool_file, kvpool_error* error);
/* Opens what kvpool_create made; with `create` other than 0 makes it first where nothing is there.
 */
KVPOOL_API kvpool_status kvpool_open(const char* pool_file, int create, kvpool_pool** pool,
                                     kvpool_error* error);
/* Waits for the pool's threads, records what is to survive and frees the pool. KVPOOL_BUSY while a
 * channel of it is open; then nothing happened. NULL is closed. */
KVPOOL_API kvpool_status kvpool_close(kvpool_pool* pool, kvpool_error* error);

KVPOOL_API kvpool_status kvpool_open_space(kvpool_pool* pool, const kvpool_space_spec* spec,
                                           kvpool_space* space, kvpool_error* error);
/* How many leading keys are present. In memory, no side effect. 0 for what is not valid. */
KVPOOL_API size_t kvpool_match(const kvpool_pool* pool, kvpool_space space, const kvpool_key* keys,
                               size_t count);
/* Key by key: present[i] becomes 0 or 1. */
KVPOOL_API kvpool_status kvpool_contains(const kvpool_pool* pool, kvpool_space space,
                                         const kvpool_key* keys, size_t count, uint8_t* present,
                                         kvpool_error* error);

/* Memory for transfers without a copy, 2 MiB-aligned; numa_node -1 takes any. */
KVPOOL_API kvpool_status kvpool_allocate(kvpool_pool* pool, uint64_t bytes, int numa_node,
                                         kvpool_memory** memory, kvpool_error* error);
/* Prepares the caller's memory, until kvpool_free: call that before the memory goes away. */
KVPOOL_API kvpool_status kvpool_register(kvpool_pool* pool, void* data, uint64_t bytes,
                                         kvpool_memory** memory, kvpool_error* error);
KVPOOL_API void* kvpool_memory_data(const kvpool_memory* memory);
KVPOOL_API uint64_t kvpool_memory_bytes(const kvpool_memory* memory);
/* Ends what kvpool_allocate or kvpool_register began, before the pool is closed and when no request
 * uses the memory. NULL is free. */
KVPOOL_API void kvpool_free(kvpool_memory* memory);

/* --- a channel: submit, then poll for what is done --- */

/* What every request has. The arrays may go when submit has returned; the bytes that keys and
 * segments point to stay until the request is polled. */
typedef struct kvpool_request {
  kvpool_space space;
  const kvpool_key* keys; /* at most 65,536 */
  size_t key_count;
  const kvpool_segment* segments; /* puts and gets: as many for every key, in key order */
  size_t segment_count;
  int64_t deadline_ms; /* from submit; below 0: the pool file's */
  void* user;          /* the caller's; comes back with the completion */
  int background;      /* puts and gets: other than 0: in the time that other requests leave */
} kvpool_request;

typedef struct kvpool_put_options {
  int64_t ordinal;   /* keys[i] is block ordinal + i of its context; below 0: unknown */
  kvpool_key parent; /* the key before keys[0]; {NULL, 0}: none */
  int durable;       /* other than 0: a power cut after the completion would not lose it */
} kvpool_put_options;

/* One finished request. What it points to stays until the next kvpool_poll of the channel; with a
 * lease, until kvpool_release. */
typedef struct kvpool_completion {
  uint64_t id;
  void* user;
  const uint8_t* results;      /* a kvpool_status for each key; a flush without keys has one */
  const uint64_t* block_bytes; /* gets: the stored length of each key that is OK; else NULL */
  size_t result_count;
  uint32_t layers_ready; /* gets; else 0 */
} kvpool_completion;

KVPOOL_API kvpool_status kvpool_open_channel(kvpool_pool* pool, kvpool_channel** channel,
                                             kvpool_error* error);
/* Waits for what is in flight; what was not polled is forgotten. NULL is closed. */
KVPOOL_API void kvpool_close_channel(kvpool_channel* channel);

/* Take the request: KVPOOL_OK, with its id where `id` is not NULL, and a completion comes exactly
 * once. Else nothing happened: KVPOOL_BUSY (too much in flight: poll first), KVPOOL_INVALID (a
 * limit is broken, or segments on a GPU lie on several or on none of the pool's),
 * KVPOOL_UNSUPPORTED (there are segments on a GPU, and the pool has none). `options` NULL: a chain
 * of its own for every key, not durable. `lease` other than 0: what lies in memory is not copied,
 * see kvpool_views. */
KVPOOL_API kvpool_status kvpool_submit_put(kvpool_channel* channel, const kvpool_request* request,
                                           const kvpool_put_options* options, uint64_t* id);
KVPOOL_API kvpool_status kvpool_submit_get(kvpool_channel* channel, const kvpool_request* request,
                                           int lease, uint64_t* id);
KVPOOL_API kvpool_status kvpool_submit_drop(kvpool_channel* channel, const kvpool_request* request,
                                            uint64_t* id);
KVPOOL_API kvpool_status kvpool_submit_flush(kvpool_channel* channel, const kvpool_request* request,
                                             uint64_t* id);

/* Writes up to `limit` finished requests to `done` and returns how many. Does not wait. */
KVPOOL_API size_t kvpool_poll(kvpool_channel* channel, kvpool_completion* done, size_t limit);
/* 1 when kvpool_poll has something; 0 when it has not after so long. */
KVPOOL_API int kvpool_wait(kvpool_channel* channel, int64_t timeout_ms);
/* An eventfd, readable when kvpool_poll has something. The channel's: neither read nor close it. */
KVPOOL_API int kvpool_event_fd(const kvpool_channel* channel);
/* Of a get that was not polled yet: how many leading layers of all its keys are in place, or known
 * to be missing. 0 for any other id. */
KVPOOL_API uint32_t kvpool_layers_ready(const kvpool_channel* channel, uint64_t id);

/* Of a completed get with a lease: where the bytes of an OK key lie, in order; read-only until
 * kvpool_release. Writes up to `limit` of them and returns how many there are. */
KVPOOL_API size_t kvpool_views(const kvpool_channel* channel, uint64_t id, size_t key,
                               kvpool_segment* views, size_t limit);
/* Ends the lease of a completed get. Anything else is left as it is. */
KVPOOL_API void kvpool_release(kvpool_channel* channel, uint64_t id);

#ifdef __cplusplus
}
#endif

#endif /* KVPOOL_KVPOOL_H_ */
