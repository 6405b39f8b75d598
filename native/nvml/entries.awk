# SPDX-License-Identifier: Apache-2.0
# nvml/symbols.txt -> a trampoline for every exported function.
BEGIN { print "// Made by nvml/entries.awk. DO NOT EDIT.\n#include \"nvml/trampoline.h\"\n  .hidden nvml_enter\n  .hidden nvml_bound" }
/^#/ { next }
{ printf "  ENTRY %d, %s\n", n++, $1 }
END { printf "  ENTRIES_END %d\n", n }
