# SPDX-License-Identifier: Apache-2.0
# The ways in which a program can reach the driver: linked to it, per-thread default streams, a plugin, a chain of preloaded objects.
PLAIN_PROGRAMS := $(filter-out next-chain,$(PLAIN_PROGRAMS))
STEPS := $(HERE)/programs/driver-steps.c
STEPS_OUT := $(OUT)/programs/driver-steps-linked $(OUT)/programs/driver-steps-ptsz $(OUT)/programs/driver-plugin.so
EXTRA += $(STEPS_OUT) $(OUT)/programs/next-chain.so

$(OUT)/programs/driver-steps-linked: STEPS_FLAGS := -DLINKED
$(OUT)/programs/driver-steps-ptsz: STEPS_FLAGS := -DLINKED -DPER_THREAD
$(OUT)/programs/driver-plugin.so: STEPS_FLAGS := -DLINKED -DPLUGIN -shared
$(STEPS_OUT): $(STEPS) $(OUT)/fake/libcuda.so.1
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(C)) -D_GNU_SOURCE $(STEPS_FLAGS) -o $@.$$$$ $(STEPS) -L$(OUT)/fake -l:libcuda.so.1 -ldl && mv -f $@.$$$$ $@
$(OUT)/programs/next-chain.so: $(HERE)/programs/next-chain.c
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(C)) -D_GNU_SOURCE -fvisibility=hidden -shared -o $@.$$$$ $< -ldl && mv -f $@.$$$$ $@

PLAIN_PROGRAMS := $(filter-out odd-driver,$(PLAIN_PROGRAMS))
EXTRA += $(OUT)/odd/libcuda.so.1
$(OUT)/odd/libcuda.so.1: $(HERE)/programs/odd-driver.c
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(C)) -fvisibility=hidden -shared -Wl,-Bsymbolic -Wl,-soname,libcuda.so.1 -o $@.$$$$ $< && mv -f $@.$$$$ $@
CFLAGS_no-driver :=
LDLIBS_no-driver := -rdynamic
