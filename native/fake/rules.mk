# SPDX-License-Identifier: Apache-2.0
# The driver's exported names are those of cuda/symbols.txt, each a stub until fake/cuda has a function of that name.
CFLAGS_fake := -Wno-missing-prototypes
LDLIBS_fake := -pthread

$(O)/fake/entries.c: $(HERE)/cuda/symbols.txt $(HERE)/fake/entries.awk
	@mkdir -p $(@D)
	awk -f $(HERE)/fake/entries.awk $< >$@
$(O)/fake/entries.c.o: $(O)/fake/entries.c $(HERE)/fake/cuda/stub.h $(HERE)/fake/cuda/entries.h
	$(CC) $(C) -D_GNU_SOURCE -fvisibility=hidden $(CFLAGS_fake) -c -o $@ $<
$(OUT)/fake/libcuda.so.1: $(O)/fake/entries.c.o

# NVML likewise, with the fake machine's cards and the file that the fake driver keeps.
$(O)/fake/nvml/stubs.c: $(HERE)/nvml/symbols.txt $(HERE)/fake/nvml/stubs.awk
	@mkdir -p $(@D)
	awk -f $(HERE)/fake/nvml/stubs.awk $< >$@
$(O)/fake/nvml/stubs.c.o: $(O)/fake/nvml/stubs.c
	$(CC) $(C) -D_GNU_SOURCE -fvisibility=hidden $(CFLAGS_fake) -c -o $@ $<
$(OUT)/fake/libnvidia-ml.so.1: $(O)/fake/nvml/stubs.c.o $(O)/fake/cuda/cards.c.o $(O)/fake/cuda/heap.c.o

# The mini runtime, a static library as the vendor's is by default; and the program of its test, for both kinds of default stream.
MINI := $(OUT)/fake/libpenstock_mini_cudart.a
$(O)/fake/runtime/lookups.h: $(HERE)/fake/runtime/lookups.txt $(HERE)/fake/runtime/lookups.awk
	@mkdir -p $(@D)
	awk -f $(HERE)/fake/runtime/lookups.awk $< >$@
$(O)/fake/runtime/runtime.c.o: $(HERE)/fake/runtime/runtime.c $(O)/fake/runtime/lookups.h
	$(CC) $(C) -D_GNU_SOURCE -I$(O) $(CFLAGS_fake) -c -o $@ $<
$(MINI): $(O)/fake/runtime/runtime.c.o
	@mkdir -p $(@D)
	rm -f $@ && ar rcs $@ $^
DEPS_runtime-steps := $(MINI)
LDLIBS_runtime-steps := $(MINI)
$(O)/programs/runtime-steps-ptsz.c.o: $(HERE)/programs/runtime-steps.c
	@mkdir -p $(@D)
	$(CC) $(C) -D_GNU_SOURCE -DPENSTOCK_PER_THREAD_STREAMS -c -o $@ $<
$(OUT)/programs/runtime-steps-ptsz: $(O)/programs/runtime-steps-ptsz.c.o $(MINI)
	$(begin) $(SANITIZE) $^ -pthread -ldl $(finish)
EXTRA += $(OUT)/programs/runtime-steps-ptsz

# What `make gpu-test` runs.
.PHONY: gpu-programs
gpu-programs: $(addprefix $(OUT)/programs/,driver-steps driver-steps-linked driver-steps-ptsz runtime-steps runtime-steps-ptsz nvml-view session-tool)

DEPS_fake-check := $(OUT)/fake/libcuda.so.1
LDLIBS_fake-check := -L$(OUT)/fake -l:libcuda.so.1
