# SPDX-License-Identifier: Apache-2.0
# The trampolines, and what of vram/ is not the ledger but is needed here too.
$(O)/nvml/entries.S: $(HERE)/nvml/symbols.txt $(HERE)/nvml/entries.awk
	@mkdir -p $(@D)
	awk -f $(HERE)/nvml/entries.awk $< >$@
$(O)/nvml/entries.S.o: $(O)/nvml/entries.S $(HERE)/nvml/trampoline.h
	$(CC) -MMD -MP -I$(HERE) -c -o $@ $<
$(O)/nvml/entry.S.o: $(HERE)/nvml/entry.S
	@mkdir -p $(@D)
	$(CC) -MMD -MP -I$(HERE) -c -o $@ $<
$(OUT)/lib/libpenstock_nvml.so: $(O)/nvml/entries.S.o $(O)/nvml/entry.S.o $(O)/vram/elf.c.o $(O)/vram/find.c.o
