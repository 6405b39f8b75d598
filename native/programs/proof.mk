# SPDX-License-Identifier: Apache-2.0
# Programs of the proofs: the kinds of processes that a preloaded object meets, storms, races, and the bench (bench/*.c).
DEPS_kill-storm := $(O)/fake/cuda/heap.c.o

# No sanitizer is in these: musl, static and 32-bit programs have no runtime for one.
INERT := $(HERE)/programs/inert.c
INERT_FLAGS := -std=c11 -O2 $(WARN) -D_GNU_SOURCE
INERT_OUT := $(addprefix $(OUT)/programs/,inert-static inert-musl inert-musl-static $(if $(findstring x86_64,$(ARCH)),inert-32))
EXTRA += $(INERT_OUT)
$(OUT)/programs/inert-static: INERT_BUILD := $(CC) -static
$(OUT)/programs/inert-32: INERT_BUILD := $(CC) -m32 -idirafter /usr/include/x86_64-linux-gnu # asm/, where gcc-multilib's link to it is absent
$(OUT)/programs/inert-musl: INERT_BUILD := musl-gcc
$(OUT)/programs/inert-musl-static: INERT_BUILD := musl-gcc -static
$(INERT_OUT): $(INERT)
	@mkdir -p $(@D)
	$(INERT_BUILD) $(INERT_FLAGS) -o $@.$$$$ $< && mv -f $@.$$$$ $@

# dist/native/bench: see test/bench/native.ts.
BENCH_PROGRAMS := $(patsubst $(HERE)/bench/%.c,$(OUT)/bench/%,$(wildcard $(HERE)/bench/*.c))
EXTRA += $(BENCH_PROGRAMS)
$(BENCH_PROGRAMS): $(OUT)/bench/%: $(HERE)/bench/%.c $(HERE)/programs/driver-calls.h
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(C)) -D_GNU_SOURCE -o $@.$$$$ $< -pthread -ldl && mv -f $@.$$$$ $@
