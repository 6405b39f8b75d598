// SPDX-License-Identifier: Apache-2.0
// A region out of a quota. In a pod nobody runs the command line: the kubelet writes an annotation to ../quota/limit (decimal bytes for each GPU that
// the container sees), an empty folder is mounted at ../region, and the first process that needs a region makes it there.
//
// Many processes may do so at once, in several containers and under any user, and each may be killed at any instruction. Nobody waits for anybody:
//   (1) A ledger is made whole and then linked to its name. A link replaces nothing: all go on with the one that was first.
//   (2) A control page for that ledger's session is made whole and linked likewise. Only now is there a region.
// Killed before (1): nothing is there. Killed before (2): a ledger that nobody uses, with which the next one goes on. A file has no name while it is
// made (O_TMPFILE), so nothing else is left either; where that cannot be had (a file system, /proc, AppArmor) a .new-… of some kilobytes may be.
// What the quota says later changes nothing: a region that is there is used as it is.
//
// Nothing here needs to own anything: no chmod of a file that another made, no O_CREAT of a name that may be there (fs.protected_regular), no link
// to a file of somebody else (fs.protected_hardlinks). So users may differ, the folder may be sticky, and its mount idmapped (hostUsers: false).
#include "vram/core.h"
#include "vram/text.h"

enum {
  LIMIT_TEXT = 24, // 2^62 has 19 digits
  CONTROL_MODE = 0444, LEDGER_MODE = 0666, // containers of one pod may run as different users
  RLIMIT_FSIZE_ = 1, GRND_NONBLOCK_ = 1,
  NO_LEDGER = -4096, // no error of the kernel's
};

/** Too large for the stacks of threads that programs make. */
struct work {
  char folder[PATH_BYTES], target[PATH_BYTES], source[PATH_BYTES];
  struct ledger_header ledger;
  struct control control;
};

/** A file to be: `head`, and zeros up to `size`. */
struct draft {
  const char *name;
  const void *head;
  uint64_t head_size, size;
  uint32_t mode;
};

/** NULL and *bytes, or what is wrong. A newline at the end does not matter. */
static const char *parse(const char *text, long size, uint64_t *bytes) {
  uint64_t value = 0;
  if (size == LIMIT_TEXT) return "quota/limit is no decimal number of bytes"; // and there may be more of it
  if (size > 0 && text[size - 1] == '\n') size--;
  if (size == 0) return "quota/limit is empty";
  for (long at = 0; at < size; at++) {
    if (text[at] < '0' || text[at] > '9') return "quota/limit is no decimal number of bytes";
    uint64_t digit = (uint64_t)(text[at] - '0');
    if (value > (AMPLE - 1 - digit) / 10) return "quota/limit is larger than any GPU";
    value = value * 10 + digit;
  }
  *bytes = value;
  return value ? NULL : "quota/limit is 0";
}

static enum quota refuse(const char **why, const char *what) {
  *why = what;
  return QUOTA_REFUSED;
}

static enum quota read_limit(const char *path, uint64_t *bytes, const char **why) {
  char text[LIMIT_TEXT];
  long size, fd = sys_open(path, O_RDONLY_ | O_NONBLOCK_);
  if (is_missing(fd) && path_is_free(path)) return QUOTA_NONE;
  if (is_scarce(fd)) return QUOTA_LATER;
  if (fd < 0) return refuse(why, "quota/limit cannot be read");
  while ((size = sys_read(fd, text, sizeof text)) == -E_INTR) continue;
  sys_close(fd);
  if (size < 0) return refuse(why, "quota/limit cannot be read");
  *why = parse(text, size, bytes);
  return *why ? QUOTA_REFUSED : QUOTA_MADE;
}

/* ---- making a file whole before it has its name ---- */

/** Not secret, but not the same as another's. */
static void draw(uint64_t number[2]) {
  if (sys3(SYS_getrandom, number, 16, GRND_NONBLOCK_) == 16) return;
  number[0] = sys_nanoseconds() ^ (uint64_t)sys_getpid() << 40;
  number[1] = cpu_ticks() ^ (uint64_t)(uintptr_t)number << 16;
}

/** Device and inode of what a descriptor is; zeros where it is nothing. */
struct file { uint64_t device, inode; };
static struct file file_at(long fd) {
  struct { struct file file; uint64_t rest[30]; } stat = {{0, 0}, {0}};
  sys4(SYS_newfstatat, fd, "", &stat, AT_EMPTY_PATH_);
  return stat.file;
}
static int is_still(long fd, struct file file) {
  struct file now = file_at(fd);
  return now.inode == file.inode && now.device == file.device && file.inode != 0;
}

/**
 * The descriptor lies in the program's table: a thread that closes all descriptors at this moment and opens something of its own may do so under this number.
 * So each step, the link and the close too, looks first whether it is still the file that was made. That leaves the instant between two system calls; none of
 * the steps cuts anything off (the size comes by writing the last byte, not by truncating).
 */
static long fill(long fd, struct file file, const struct draft *draft) {
  if (draft->size > draft->head_size) {
    long last = is_still(fd, file) ? sys4(SYS_pwrite64, fd, "", 1, draft->size - 1) : -E_AGAIN;
    if (last < 0) return last;
  }
  long done = is_still(fd, file) ? sys4(SYS_pwrite64, fd, draft->head, draft->head_size, 0) : -E_AGAIN;
  if (done < 0) return done;
  if ((uint64_t)done != draft->head_size) return -E_NOSPC;
  return is_still(fd, file) ? sys2(SYS_fchmod, fd, draft->mode) : -E_AGAIN;
}

static long link(const char *from, const char *to) { return sys6(SYS_linkat, AT_FDCWD_, (long)from, AT_FDCWD_, (long)to, AT_SYMLINK_FOLLOW_, 0); }

static long publish_nameless(struct work *w, const struct draft *draft) {
  long fd = sys4(SYS_openat, AT_FDCWD_, w->folder, O_TMPFILE_ | O_WRONLY_ | O_CLOEXEC_, 0600);
  if (fd < 0) return fd;
  struct text source = text_in(w->source, sizeof w->source);
  text_add(&source, "/proc/self/fd/");
  text_add_number(&source, (uint64_t)fd);
  struct file file = file_at(fd);
  long result = fill(fd, file, draft);
  if (result == 0) result = is_still(fd, file) ? link(w->source, w->target) : -E_AGAIN;
  if (is_still(fd, file)) sys_close(fd);
  return result;
}

static long publish_named(struct work *w, const struct draft *draft) {
  uint64_t number[2];
  draw(number);
  struct text source = text_in(w->source, sizeof w->source);
  text_add(&source, w->folder);
  text_add(&source, "/.new-");
  text_add_number(&source, number[0]);
  if (source.cut) return -E_NOENT;
  long fd = sys4(SYS_openat, AT_FDCWD_, w->source, O_CREAT_ | O_EXCL_ | O_NOFOLLOW_ | O_WRONLY_ | O_CLOEXEC_, 0600);
  if (fd < 0) return fd == -E_EXIST ? -E_AGAIN : fd;
  struct file file = file_at(fd);
  long result = fill(fd, file, draft);
  if (is_still(fd, file)) sys_close(fd);
  if (result == 0) result = link(w->source, w->target);
  sys3(SYS_unlinkat, AT_FDCWD_, w->source, 0);
  return result;
}

/** 0: the file is there, ours or another's. */
static long publish(struct work *w, const struct draft *draft) {
  if (path_join(w->target, w->folder, draft->name)) return -E_NOENT;
  long result = publish_nameless(w, draft);
  if (result < 0 && result != -E_EXIST) result = publish_named(w, draft);
  return result == -E_EXIST ? 0 : result;
}

/* ---- the two files ---- */

static long read_ledger(struct work *w) {
  if (path_join(w->target, w->folder, "/ledger")) return -E_NOENT;
  long fd = sys_open(w->target, O_RDONLY_ | O_NONBLOCK_);
  if (fd < 0) return fd;
  long size = file_is(fd, LEDGER_SIZE) ? 0 : sys4(SYS_pread64, fd, &w->ledger, sizeof w->ledger, 0);
  sys_close(fd);
  return size == (long)sizeof w->ledger && ledger_is_whole(&w->ledger) ? 0 : NO_LEDGER;
}

static long make_ledger(struct work *w) {
  struct ledger_header *header = &w->ledger;
  header->magic = LEDGER_MAGIC;
  header->version = LAYOUT_VERSION;
  header->size = LEDGER_SIZE;
  header->slots = SLOTS;
  header->devices = DEVICES;
  uint64_t session[2];
  draw(session);
  memcpy(header->session, session, sizeof header->session);
  // The lines of processes stay holes until somebody comes: many make one at the same time, and one is kept.
  struct draft draft = {"/ledger", header, sizeof *header, LEDGER_SIZE, LEDGER_MODE};
  return publish(w, &draft);
}

static long make_control(struct work *w, uint64_t limit) {
  struct control *control = &w->control;
  control->magic = CONTROL_MAGIC;
  control->version = LAYOUT_VERSION;
  control->size = CONTROL_SIZE;
  memcpy(control->session, w->ledger.session, sizeof control->session);
  control->state = CONTROL_STATE_ACTIVE;
  control->flags = CONTROL_FLAG_BY_CARD; // a number would mean another card in a process that changes CUDA_VISIBLE_DEVICES
  control->device_count = DEVICES;
  for (uint32_t i = 0; i < DEVICES; i++) {
    control->devices[i].ordinal = BY_UUID;
    control->devices[i].limit = limit;
  }
  struct draft draft = {"/control", control, CONTROL_SIZE, CONTROL_SIZE, CONTROL_MODE};
  return publish(w, &draft);
}

static const char *cause(long error) {
  if (is_missing(error)) return "the folder of its region is missing";
  if (error == -E_ROFS) return "the folder of its region is read-only";
  if (error == -E_ACCES || error == -E_PERM) return "the folder of its region may not be written to";
  if (error == -E_NOSPC || error == -E_DQUOT) return "the folder of its region is full";
  return error == NO_LEDGER ? "the ledger is not of this version" : "its region cannot be made";
}

static enum quota make(struct work *w, const char *directory, const char **why) {
  uint64_t limit = 0, most[2];
  if (path_join(w->target, directory, "/../quota/limit")) return refuse(why, "its path is too long");
  enum quota quota = read_limit(w->target, &limit, why);
  if (quota != QUOTA_MADE) return quota;
  // Beyond this limit of the process a write would end it (SIGXFSZ).
  if (sys4(SYS_prlimit64, 0, RLIMIT_FSIZE_, NULL, most) == 0 && most[0] < LEDGER_SIZE) return refuse(why, "ulimit -f leaves no room for its region");
  if (path_join(w->folder, directory, "/../region")) return refuse(why, "its path is too long");
  long result = read_ledger(w);
  if (is_missing(result)) {
    result = make_ledger(w);
    if (result == 0) result = read_ledger(w); // perhaps another's
  }
  if (result == 0) result = make_control(w, limit);
  if (is_scarce(result) || result == -E_AGAIN) return QUOTA_LATER; // E_AGAIN: its descriptor was closed meanwhile
  return result == 0 ? QUOTA_MADE : refuse(why, cause(result));
}

enum quota quota_make_region(const char *directory, const char **why) {
  struct work *w = sys_mmap(sizeof *w, PROT_READ_ | PROT_WRITE_, MAP_PRIVATE_ | MAP_ANONYMOUS_, -1);
  if (!w) return QUOTA_LATER;
  enum quota quota = make(w, directory, why);
  sys_munmap(w, sizeof *w);
  return quota;
}
