# SPDX-License-Identifier: Apache-2.0
# What is special about programs: those linked with the ledger itself (no hooks), and flags of single ones.
CORE_PROGRAMS += ledger-race
-include $(HERE)/programs/hooks.mk
