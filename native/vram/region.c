// SPDX-License-Identifier: Apache-2.0
// Finding the session: the files beside the preloaded object, and the memory of this process's own.
#include "vram/core.h"
#include "vram/ledger.h"

uint32_t ledger_mode;
const struct control *ledger_control;
struct arena ledger_arena;
uint32_t arena_ready; // 0: nobody asked yet, 1: wiped by the kernel at fork, 2: to be compared at each call
uint32_t arena_unwiped;

/** Found once, never changed: the path of `ledger`, or what to say when something is denied. */
static const char *found_path;
static const char *broken_why; // NULL: not broken. Nothing here is initialised data: the loader would copy a page of it in every process
static uint32_t complained;
const char ledger_short[] = "no descriptors or memory are left just now";

static uint64_t length(const char *text) {
  uint64_t n = 0;
  while (text[n]) n++;
  return n;
}

int path_join(char to[PATH_BYTES], const char *directory, const char *name) {
  uint64_t first = length(directory), second = length(name);
  if (first + second + 1 > PATH_BYTES) return 1;
  memcpy(to, directory, first);
  memcpy(to + first, name, second + 1);
  return 0;
}

BARE int file_is(long fd, uint64_t size) {
  // struct stat of both machines: the size at byte 48, the mode where its order of members puts it.
  struct { uint64_t head[2]; uint32_t middle[8]; uint64_t size; uint64_t tail[16]; } stat = {0};
  _Static_assert(offsetof(__typeof__(stat), size) == 48, "struct stat");
  if (sys4(SYS_newfstatat, fd, "", &stat, AT_EMPTY_PATH_) < 0) return 1;
#if defined(__x86_64__)
  uint32_t mode = stat.middle[2];
#else
  uint32_t mode = stat.middle[0];
#endif
  return (mode & 0170000) != 0100000 || stat.size < size;
}

int path_is_free(const char *path) {
  char none[1];
  return is_missing(sys4(SYS_readlinkat, AT_FDCWD_, path, none, sizeof none));
}

/** Maps the control page. NULL when it is no such page, and *why; *why is NULL where there was no memory for it. */
static const struct control *control_map(long fd, const char **why) {
  *why = "control is not a file of the right size";
  if (file_is(fd, CONTROL_SIZE)) return NULL;
  const struct control *control = sys_mmap(CONTROL_SIZE, PROT_READ_, MAP_SHARED_, fd);
  *why = NULL;
  if (!control) return NULL;
  *why = "control is of another version";
  int good = control->magic == CONTROL_MAGIC && control->version == LAYOUT_VERSION && control->size == CONTROL_SIZE;
  if (good && control->device_count <= DEVICES) return control;
  sys_munmap((void *)(uintptr_t)control, CONTROL_SIZE);
  return NULL;
}

/** Several threads may get here at once: each finds the same, the first to publish wins, nobody waits for anybody. */
static int settle(uint32_t mode, const struct control *control, const char *path) {
  if (control) {
    const char *no_path = NULL;
    const struct control *none = NULL;
    compare_swap(&found_path, &no_path, path);
    compare_swap(&ledger_control, &none, control);
  }
  uint32_t unknown = 0;
  return (int)(compare_swap(&ledger_mode, &unknown, mode) ? mode : unknown);
}

static int broken(const char *why) {
  store_release(&broken_why, why);
  return settle(LEDGER_BROKEN, NULL, NULL);
}

enum { NOTHING = 0, LEDGER_ALONE = -1 };

/** NOTHING of a session in `directory`, a LEDGER_ALONE, or else the mode. */
static int try_directory(char *scratch, const char *directory) {
  if (path_join(scratch, directory, "/control")) return broken("its path is too long");
  long fd = sys_open(scratch, O_RDONLY_ | O_NONBLOCK_);
  if (is_missing(fd)) {
    if (path_join(scratch, directory, "/ledger")) return broken("its path is too long");
    return path_is_free(scratch) ? NOTHING : LEDGER_ALONE;
  }
  if (is_scarce(fd)) return LEDGER_BROKEN; // denied now, looked at again at the next call
  if (fd < 0) return broken("control cannot be opened");
  const char *why;
  const struct control *control = control_map(fd, &why);
  sys_close(fd);
  if (!control) return why ? broken(why) : LEDGER_BROKEN;
  if (path_join(scratch, directory, "/ledger")) return broken("its path is too long");
  return settle(LEDGER_ON, control, scratch);
}

/** The object's own folder, then ../region, which may have to be made first (quota.c). NOTHING, or the mode. */
static int try_both(char *scratch, char *directory) {
  static const char beside[] = "/../region";
  int found = try_directory(scratch, directory);
  if (found != NOTHING) return found == LEDGER_ALONE ? broken("there is a ledger, but no control") : found;
  uint64_t end = length(directory);
  memcpy(directory + end, beside, sizeof beside);
  found = try_directory(scratch, directory);
  if (found != NOTHING && found != LEDGER_ALONE) return found;
  const char *why = NULL;
  directory[end] = 0;
  enum quota quota = quota_make_region(directory, &why);
  if (quota == QUOTA_NONE) return found == LEDGER_ALONE ? broken("there is a ledger, but no control") : NOTHING;
  if (quota == QUOTA_LATER) return LEDGER_BROKEN;
  if (quota == QUOTA_REFUSED) return broken(why);
  memcpy(directory + end, beside, sizeof beside);
  found = try_directory(scratch, directory);
  return found == NOTHING || found == LEDGER_ALONE ? broken("its region was taken away") : found;
}

int ledger_open(void) {
  uint32_t mode = load_acquire(&ledger_mode);
  if (mode) return (int)mode;
  // Kept for good when a session is found; at most once per thread that came here first.
  char *pages = sys_mmap(2 * PATH_BYTES, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_, -1);
  if (!pages) return LEDGER_BROKEN; // denied now, looked at again at the next call
  char *directory = pages + PATH_BYTES;
  int found, told = self_directory(directory, PATH_BYTES - 16);
  if (told != 0 && told != SELF_MOVED) {
    found = settle(LEDGER_OFF, NULL, NULL);
  } else if (path_is_free(directory)) {
    // A chroot, another mount namespace, or a session that was released: what cannot be seen cannot be said to lend.
    found = broken("its directory is gone");
  } else {
    found = try_both(pages, directory);
    if (!found && told == SELF_MOVED) found = broken("it was preloaded by a relative path, and the program has changed its folder");
    if (!found) found = settle(LEDGER_OFF, NULL, NULL);
  }
  if (load_acquire(&found_path) != pages) sys_munmap(pages, 2 * PATH_BYTES);
  return found;
}

BARE const char *ledger_path(void) { return load_acquire(&found_path); }

static void say(const char *text) { sys_write(2, text, length(text)); }

void ledger_complain(const char *why) {
  if (exchange_acquire(&complained, 1)) return;
  // One write, so that lines of several processes do not mix.
  char line[256];
  const char *parts[] = {"penstock-vram: GPU memory is denied: the session cannot be used: ", why ? why : broken_why ? broken_why : ledger_short, "\n"};
  uint64_t end = 0;
  for (int part = 0; part < 3; part++)
    for (const char *c = parts[part]; *c && end < sizeof line - 1; c++) line[end++] = *c;
  line[end] = 0;
  say(line);
}

uint32_t control_devices(void) {
  uint32_t count = load_relaxed(&ledger_control->device_count);
  return count < DEVICES ? count : DEVICES;
}

uint64_t control_limit(int device) {
  uint64_t limit = load_relaxed(&ledger_control->devices[device].limit);
  return limit < AMPLE ? limit : AMPLE;
}

uint64_t control_chunk(int device) {
  uint64_t chunk = load_relaxed(&ledger_control->chunk);
  // A small quota is not hoarded: sixteen processes can hold a chunk each before anybody has to take credit back.
  uint64_t share = control_limit(device) / 16;
  if (!chunk) chunk = DEFAULT_CHUNK;
  return chunk < share ? chunk : share;
}

BARE int ledger_is_whole(const struct ledger_header *header) {
  if (header->magic != LEDGER_MAGIC || header->version != LAYOUT_VERSION || header->size != LEDGER_SIZE) return 0;
  return header->slots == SLOTS && header->devices == DEVICES;
}

BARE int ledger_is_ours(const struct ledger *ledger) {
  const struct ledger_header *header = &ledger->header;
  if (!ledger_is_whole(header)) return 0;
  for (int i = 0; i < 16; i++)
    if (header->session[i] != ledger_control->session[i]) return 0;
  return 1;
}

/** A child whose kernel did not wipe the arena: the first thread that notices forgets the parent's state, others wait for it. */
static __attribute__((noinline)) void arena_forget(struct arena *arena, uint32_t pid) {
  const uint32_t forgetting = UINT32_MAX;
  for (;;) {
    uint32_t owner = load_acquire(&arena->pid);
    if (owner == pid) return;
    if (owner == forgetting || !compare_swap(&arena->pid, &owner, forgetting)) {
      sys1(SYS_sched_yield, 0);
      continue;
    }
    uint64_t from = offsetof(struct arena, pid) + sizeof arena->pid;
    memset(arena, 0, offsetof(struct arena, pid));
    memset((char *)arena + from, 0, sizeof *arena - from);
    store_release(&arena->pid, pid);
  }
}

void arena_prepare(void) {
  struct arena *arena = &ledger_arena;
  if (load_acquire(&arena_ready) == 0) {
    // Several threads may come here at once, and do the same. A child of a fork before this has an arena that nobody used.
    if (sys_madvise(arena, sizeof *arena, MADV_WIPEONFORK_) == 0) {
      store_release(&arena_ready, 1);
      return;
    }
    store_release(&arena_unwiped, 1);
    store_release(&arena_ready, 2);
  }
  if (load_acquire(&arena_ready) == 2) arena_forget(arena, sys_getpid());
}
