# SPDX-License-Identifier: Apache-2.0
# What is special about programs: those linked with the ledger itself (no hooks), and flags of single ones.
CORE_PROGRAMS += ledger-race ledger-model map-model ledger-crash region-crash
# Steps through instructions: without the loader's own that bind a symbol at its first call.
LDLIBS_ledger-crash := -Wl,-z,now
LDLIBS_region-crash := -Wl,-z,now
-include $(HERE)/programs/hooks.mk
