// SPDX-License-Identifier: Apache-2.0
// ledger-model DIR [REFUSED]: drives real processes through the ledger, for a model that says what must come of it.
// Input: one run per line, steps apart by spaces. Output: one line per run, for each step `ANSWER:USED0,USED1`, where USED is what
// a process without a slot reads afterwards. A run begins with an empty ledger and no process; a worker starts at its first step.
//   aW,D,K,B    worker W allocates B bytes on device D as kind (and owner) K                       g granted, d denied
//   xW,D,B      reserves, the driver's call fails, gives back                                       g, d
//   fW,I        frees its allocation I (modulo how many it has)                                     k, or - without any
//   tW,I        the driver refuses the free: taken out and put back                                 k, -
//   zW,I,B      an allocation changes its size (a pool)                                             g, d, -
//   oW,K        all allocations of owner K go (its context is destroyed)                            how many
//   kW  eW  nW  is killed; ends; becomes another program (that goes on as worker W with nothing)    k
//   KW,D,B      is killed while it allocates                                                        k
//   FW,V        forks; the child is worker V, which must not run                                    k, or - if it runs
//   cW          closes every descriptor that is not its channel to us                               k
//   sW  uW      is stopped; goes on. Steps of a stopped worker that it would have to do answer -    k
//   lD,B        device D lends B bytes from now on                                                  k
//   qS          the session's state becomes S                                                       k
// REFUSED names system calls that the workers' kernel shall not know, for what the ledger does without them: `clone` (threads of
// other kinds than a C library's), `close_range`, `wipe` (MADV_WIPEONFORK); several with commas between.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "programs/session.h"
#include "vram/ledger.h"
#include "vram/map.h"

enum { WORKERS = 4, DEVICES_USED = 2, HELD = 256, PATIENCE_MS = 20000 };

static const char *directory;
int self_directory(char *path, uint64_t size) { return snprintf(path, size, "%s", directory) >= (int)size; }

struct step { char what; int worker; uint64_t number[3]; };

static int channel[WORKERS][2]; // [0] ours, [1] the worker's
static pid_t process[WORKERS];  // 0: none
static int watch[WORKERS];      // its pidfd
static int stopped[WORKERS];

/* ---- what the kernel refuses ---- */

#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define REFUSE(error) RETURN(SECCOMP_RET_ERRNO | (error))
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))

static void refuse(const char *names) {
  const unsigned thread = 0x10000, wipe = 18;
  int clone = strstr(names, "clone") != NULL, range = strstr(names, "close_range") != NULL, wiped = strstr(names, "wipe") != NULL;
  struct sock_filter filter[] = {
    LOAD(nr),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, clone ? SYS_clone : ~0U, 0, 3),
    LOAD(args[0]),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, thread, 0, 6),
    REFUSE(EPERM),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, range ? SYS_close_range : ~0U, 0, 1),
    REFUSE(ENOSYS),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wiped ? SYS_madvise : ~0U, 0, 2),
    LOAD(args[2]),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wipe, 1, 0),
    RETURN(SECCOMP_RET_ALLOW),
    REFUSE(EINVAL),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) die("seccomp");
}

static const char *refused = "";

/* ---- in a worker ---- */

static struct map_entry held[HELD];
static unsigned live;
static uint64_t next_key = 1;

static void forget(unsigned at) {
  held[at] = held[--live];
}

static int allocate(const struct step *step) {
  uint64_t device = step->number[0], kind = step->number[1], bytes = step->number[2];
  if (live == HELD || ledger_reserve((int)device, bytes)) return 'd';
  struct map_entry entry = {next_key++ << 9, kind, bytes, (uint16_t)kind, (int16_t)device, 1};
  if (map_insert_entry(&entry)) return 'M'; // never: the ledger granted it
  held[live++] = entry;
  return 'g';
}

static int resize(struct map_entry *entry, uint64_t bytes) {
  uint64_t before;
  if (bytes > entry->bytes && ledger_reserve(entry->device, bytes - entry->bytes)) return 'd';
  if (map_resize(entry->key, entry->kind, bytes, &before) || before != entry->bytes) return 'M';
  if (bytes < entry->bytes) ledger_release(entry->device, entry->bytes - bytes);
  entry->bytes = bytes;
  return 'g';
}

static int drop(uint64_t owner) {
  unsigned expected = 0;
  for (unsigned i = 0; i < live;) {
    if (held[i].owner == owner) forget(i), expected++;
    else i++;
  }
  return map_drop(owner, 0) == expected ? (int)('0' + expected % 10) : 'M';
}

static int with_one(const struct step *step) {
  if (!live) return '-';
  unsigned at = (unsigned)(step->number[0] % live);
  struct map_entry *entry = &held[at], out;
  if (step->what == 'z') return resize(entry, step->number[1]);
  if (!map_remove(entry->key, entry->kind, &out) || out.bytes != entry->bytes || out.device != entry->device) return 'M';
  if (step->what == 't') map_restore(&out);
  else ledger_release(out.device, out.bytes), forget(at);
  return 'k';
}

static void serve(int me);

static int64_t fork_as(int me) {
  pid_t child = fork();
  if (child == 0) {
    live = 0;
    serve(me);
  }
  return child;
}

static void become_another(int me) {
  char number[8], fds[WORKERS][16];
  snprintf(number, sizeof number, "%d", me);
  char *arguments[3 + WORKERS + 1] = {"/proc/self/exe", (char *)(uintptr_t)directory, number};
  for (int i = 0; i < WORKERS; i++) {
    snprintf(fds[i], sizeof fds[i], "%d", channel[i][1]);
    arguments[3 + i] = fds[i];
  }
  arguments[3 + WORKERS] = NULL;
  execv("/proc/self/exe", arguments);
  die("exec");
}

static int is_channel(int fd) {
  for (int i = 0; i < WORKERS; i++)
    if (fd == channel[i][1]) return 1;
  return 0;
}

static void close_all(void) {
  for (int fd = 3; fd < 256; fd++)
    if (!is_channel(fd)) close(fd);
}

static int64_t carry_out(const struct step *step) {
  switch (step->what) {
  case 'a': case 'K': return allocate(step);
  case 'x':
    if (ledger_reserve((int)step->number[0], step->number[1])) return 'd';
    ledger_release((int)step->number[0], step->number[1]);
    return 'g';
  case 'f': case 't': case 'z': return with_one(step);
  case 'o': return drop(step->number[0]);
  case 'F': return fork_as((int)step->number[0]);
  case 'c': close_all(); return 'k';
  case 'e': exit(0);
  case 'n': become_another(step->worker); return 0;
  default: return '?';
  }
}

static void serve(int me) {
  signal(SIGCHLD, SIG_IGN);
  struct step step;
  for (;;) {
    if (recv(channel[me][1], &step, sizeof step, 0) != sizeof step) _exit(0);
    int64_t answer = carry_out(&step);
    if (send(channel[me][1], &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer) _exit(0);
  }
}

/* ---- ours ---- */

static void adopt(int worker, pid_t pid) {
  process[worker] = pid;
  stopped[worker] = 0;
  watch[worker] = (int)syscall(SYS_pidfd_open, pid, 0);
  if (watch[worker] < 0) die("pidfd_open");
}

static void await_end(int worker) {
  struct pollfd poller = {watch[worker], POLLIN, 0};
  if (poll(&poller, 1, PATIENCE_MS) != 1) die("a worker does not end");
  close(watch[worker]);
  while (waitpid(-1, NULL, WNOHANG) > 0) {}
  process[worker] = 0;
  int64_t left;
  while (recv(channel[worker][0], &left, sizeof left, MSG_DONTWAIT) > 0) {}
  struct step unread;
  while (recv(channel[worker][1], &unread, sizeof unread, MSG_DONTWAIT) > 0) {}
}

static void end(int worker) {
  kill(process[worker], SIGKILL);
  await_end(worker);
}

static void start(int worker) {
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (*refused) refuse(refused);
    serve(worker);
  }
  adopt(worker, pid);
}

static int64_t ask(int worker, const struct step *step) {
  if (send(channel[worker][0], step, sizeof *step, MSG_NOSIGNAL) != sizeof *step) die("send");
  struct pollfd poller = {channel[worker][0], POLLIN, 0};
  if (poll(&poller, 1, PATIENCE_MS) != 1) die("a worker does not answer");
  int64_t answer;
  if (recv(channel[worker][0], &answer, sizeof answer, 0) != sizeof answer) die("recv");
  return answer;
}

static int signal_to(int worker, int signal, int stop) {
  kill(process[worker], signal);
  stopped[worker] = stop;
  return 'k';
}

static int fork_worker(const struct step *step) {
  int child = (int)(step->number[0] % WORKERS);
  if (process[child]) return '-';
  struct step order = *step;
  order.number[0] = (uint64_t)child;
  int64_t pid = ask(step->worker, &order);
  if (pid <= 0) die("a worker does not fork");
  adopt(child, (pid_t)pid);
  return 'k';
}

static int exec_worker(const struct step *step) {
  if (send(channel[step->worker][0], step, sizeof *step, 0) != sizeof *step) die("send");
  // The new program asks for its first step: an answer to a free of nothing says that exec is over.
  struct step ping = {'f', step->worker, {0, 0, 0}};
  return ask(step->worker, &ping) == '-' ? 'k' : 'M';
}

static int act(const struct session *session, const struct step *step) {
  if (step->what == 'l') {
    __atomic_store_n(&session->control->devices[step->worker].limit, step->number[0], __ATOMIC_RELEASE);
    __atomic_fetch_add(&session->control->epoch, 1, __ATOMIC_RELEASE);
    return 'k';
  }
  if (step->what == 'q') {
    __atomic_store_n(&session->control->state, (uint32_t)step->worker, __ATOMIC_RELEASE);
    return 'k';
  }
  if (!process[step->worker]) start(step->worker);
  if (step->what == 'k') {
    end(step->worker);
    return 'k';
  }
  if (step->what == 's') return signal_to(step->worker, SIGSTOP, 1);
  if (step->what == 'u') return signal_to(step->worker, SIGCONT, 0);
  if (stopped[step->worker]) return '-';
  if (step->what == 'K' || step->what == 'e') {
    send(channel[step->worker][0], step, sizeof *step, 0);
    if (step->what == 'K') end(step->worker);
    else await_end(step->worker);
    return 'k';
  }
  if (step->what == 'F') return fork_worker(step);
  if (step->what == 'n') return exec_worker(step);
  return (int)ask(step->worker, step);
}

/** Leases never exceed what the control page lends, except what was in use when a limit went down. */
static int leases_fit(const struct session *session, int device, int lowered) {
  uint64_t sum = 0;
  for (int slot = 0; slot < (int)SLOTS; slot++) sum += session->ledger->cells[device][slot].lease;
  return lowered || sum <= session->control->devices[device].limit;
}

static void run(struct session *session, char *line, uint64_t limit) {
  session->control->state = CONTROL_STATE_ACTIVE;
  session->control->epoch++;
  for (int device = 0; device < DEVICES_USED; device++) session->control->devices[device].limit = limit;
  session_wipe(session);
  static char text[65536];
  size_t end_of_text = 0;
  int lowered = 0;
  for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
    struct step step = {word[0], 0, {0, 0, 0}};
    unsigned long long n[3] = {0, 0, 0};
    sscanf(word + 1, "%d,%llu,%llu,%llu", &step.worker, &n[0], &n[1], &n[2]);
    for (int i = 0; i < 3; i++) step.number[i] = n[i];
    lowered |= step.what == 'l';
    int answer = act(session, &step);
    uint64_t lent, used[DEVICES_USED];
    for (int device = 0; device < DEVICES_USED; device++) {
      ledger_report(device, &lent, &used[device]);
      if (!leases_fit(session, device, lowered)) answer = 'L';
    }
    // Not by stdio: a worker that ends would flush its copy of the buffer.
    end_of_text += (size_t)snprintf(text + end_of_text, sizeof text - end_of_text, "%c:%llu,%llu ", answer,
                                    (unsigned long long)used[0], (unsigned long long)used[1]);
    if (end_of_text > sizeof text - 64) die("too many steps");
  }
  text[end_of_text++] = '\n';
  if (write(1, text, end_of_text) != (ssize_t)end_of_text) die("write");
  for (int worker = 0; worker < WORKERS; worker++)
    if (process[worker]) end(worker);
}

int main(int count, char **arguments) {
  if (count < 2) return 2;
  directory = arguments[1];
  if (count == 3 + WORKERS) { // a worker after exec
    for (int i = 0; i < WORKERS; i++) channel[i][1] = atoi(arguments[3 + i]);
    serve(atoi(arguments[2]));
  }
  if (count == 3) refused = arguments[2];
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  signal(SIGPIPE, SIG_IGN);
  const uint64_t limit = 1000;
  struct session session = session_make(directory, DEVICES_USED, limit, 100);
  for (int i = 0; i < WORKERS; i++)
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel[i])) die("socketpair");
  char *line = NULL;
  size_t size = 0;
  while (getline(&line, &size, stdin) > 0) run(&session, line, limit);
  return 0;
}
