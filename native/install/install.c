// SPDX-License-Identifier: Apache-2.0
// penstock-vram-install TARGET: puts the two objects that lie beside this program into the folder TARGET. It is the init container of a pod whose
// cluster has no image volumes: any user, read-only root, no C library, nothing but TARGET is written.
//
// Each object is written under another name and renamed, so that whoever sees it sees all of it, and a container that starts again replaces it under
// programs that have it mapped. Exit status: 0 done; 2 usage; 3 an object cannot be read; 4 TARGET cannot be written; 5 objects in TARGET
// could not be loaded (noexec): without this the pod would start, and no limit would hold.
#include "vram/sys.h"
#include "vram/text.h"

enum { USAGE = 2, NO_SOURCE = 3, NO_TARGET = 4, NOT_EXECUTABLE = 5 };
enum { NAME_BYTES = 4096, BLOCK = 64 * 1024, OBJECT_MODE = 0555, ST_NOEXEC_ = 8 };

static const char OBJECTS[2][24] = {"libpenstock_vram.so", "libpenstock_nvml.so"};
static char source_folder[NAME_BYTES], source[NAME_BYTES], target[NAME_BYTES], draft[NAME_BYTES], block[BLOCK];

static const char *meaning(long error) {
  switch (-error) {
  case E_NOENT: return "no such file or folder";
  case E_NOTDIR: return "not a folder";
  case E_PERM:
  case E_ACCES: return "permission denied";
  case E_ROFS: return "the file system is read-only";
  case E_NOSPC:
  case E_DQUOT: return "no room left";
  default: return "error";
  }
}

/** One line on standard error; `status` for whoever returns it. */
static int tell(int status, const char *what, const char *path, long error) {
  char line[NAME_BYTES + 256];
  struct text text = text_in(line, sizeof line - 1);
  text_add(&text, "penstock-vram-install: ");
  text_add(&text, what);
  text_add(&text, path);
  if (error < 0) {
    text_add(&text, ": ");
    text_add(&text, meaning(error));
    text_add(&text, " (errno ");
    text_add_number(&text, (uint64_t)-error);
    text_add(&text, ")");
  }
  line[text.length] = '\n';
  sys_write(2, line, text.length + 1);
  return status;
}

static int join(char path[NAME_BYTES], const char *folder, const char *before, const char *name) {
  struct text text = text_in(path, NAME_BYTES);
  text_add(&text, folder);
  text_add(&text, "/");
  text_add(&text, before);
  text_add(&text, name);
  return text.cut;
}

/** Where this program lies. The kernel knows; without /proc it is what it was called by. */
static int find_source(const char *called) {
  long size = sys4(SYS_readlinkat, AT_FDCWD_, "/proc/self/exe", source_folder, sizeof source_folder - 1);
  if (size <= 0) {
    struct text text = text_in(source_folder, sizeof source_folder);
    text_add(&text, called);
    size = (long)text.length;
  }
  int whole = size < (long)sizeof source_folder - 1;
  while (size > 0 && source_folder[size - 1] != '/') size--;
  if (size == 0) source_folder[size] = '.', size += 2;
  source_folder[size - 1] = 0; // without its slash
  return !whole;
}

static int write_all(long fd, const char *from, long size) {
  while (size > 0) {
    long done = sys_write(fd, from, (size_t)size);
    if (done == -E_INTR) continue;
    if (done <= 0) return tell(NO_TARGET, "cannot write ", draft, done == 0 ? -E_NOSPC : done);
    from += done;
    size -= done;
  }
  return 0;
}

static int copy_bytes(long from, long to) {
  for (;;) {
    long size = sys_read(from, block, sizeof block);
    if (size == -E_INTR) continue;
    if (size < 0) return tell(NO_SOURCE, "cannot read ", source, size);
    if (size == 0) return 0;
    int status = write_all(to, block, size);
    if (status) return status;
  }
}

/** In a container every run is process 1: what a run that was killed left behind has this name, whoever it belonged to. */
static long create_draft(void) {
  int flags = O_CREAT_ | O_EXCL_ | O_NOFOLLOW_ | O_WRONLY_ | O_CLOEXEC_;
  long fd = sys4(SYS_openat, AT_FDCWD_, draft, flags, 0600);
  if (fd != -E_EXIST) return fd;
  sys3(SYS_unlinkat, AT_FDCWD_, draft, 0);
  return sys4(SYS_openat, AT_FDCWD_, draft, flags, 0600);
}

static int finish(long fd) {
  long result = sys2(SYS_fchmod, fd, OBJECT_MODE);
  if (result == 0) result = sys6(SYS_renameat2, AT_FDCWD_, (long)draft, AT_FDCWD_, (long)target, 0, 0);
  return result == 0 ? 0 : tell(NO_TARGET, "cannot put in place ", target, result);
}

static int install(const char *folder, const char *name) {
  if (join(source, source_folder, "", name) || join(target, folder, "", name) || join(draft, folder, ".new-", name))
    return tell(USAGE, "the path is too long: ", folder, 0);
  long from = sys_open(source, O_RDONLY_);
  if (from < 0) return tell(NO_SOURCE, "cannot read ", source, from);
  long to = create_draft();
  if (to < 0) {
    sys_close(from);
    return tell(NO_TARGET, "cannot write ", draft, to);
  }
  int status = copy_bytes(from, to);
  if (!status) status = finish(to);
  sys_close(from);
  sys_close(to);
  if (status) sys3(SYS_unlinkat, AT_FDCWD_, draft, 0);
  return status;
}

/** Hardened nodes mount /var noexec, and emptyDir volumes lie there. */
static int is_noexec(const char *folder) {
  uint64_t statfs[16] = {0}; // struct statfs of 64-bit Linux: twelve words, f_flags is the eleventh
  return sys2(SYS_statfs, folder, statfs) == 0 && (statfs[10] & ST_NOEXEC_) != 0;
}

__attribute__((used)) static int start(const long *stack) {
  long count = stack[0];
  const char *const *arguments = (const char *const *)(stack + 1);
  if (count != 2 || arguments[1][0] == 0 || arguments[1][0] == '-') return tell(USAGE, "usage: penstock-vram-install ", "FOLDER", 0);
  const char *folder = arguments[1];
  if (find_source(arguments[0])) return tell(USAGE, "the path is too long: ", source_folder, 0);
  if (is_noexec(folder)) return tell(NOT_EXECUTABLE, "objects cannot be loaded from a noexec mount: ", folder, 0);
  for (int i = 0; i < 2; i++) {
    int status = install(folder, OBJECTS[i]);
    if (status) return status;
  }
  return 0;
}

__attribute__((noreturn, used)) static void start_and_exit(const long *stack) {
  int status = start(stack);
  for (;;) sys1(SYS_exit_group, status);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n  xor %ebp, %ebp\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call start_and_exit\n  hlt\n");
#else
__asm__(".globl _start\n_start:\n  mov x29, #0\n  mov x30, #0\n  mov x0, sp\n  bl start_and_exit\n  brk #0\n");
#endif
