# SPDX-License-Identifier: Apache-2.0
# cuda/symbols.txt -> C: a weak stub for every exported name (the fake's own functions win over it) and the look-up table.
BEGIN { print "// Made by fake/entries.awk. DO NOT EDIT.\n#include \"fake/cuda/stub.h\"" }
/^#/ || NF < 4 { next }
{
  printf "STUB(%s)\n", $1
  if ($2 != "-") table = table sprintf("    {\"%s\", \"%s\", (void *)(uintptr_t)%s, %d, %d},\n", $1, $2, $1, $3, $4 != "-")
}
END { printf "const struct fake_entry fake_entries[] = {\n%s    {0},\n};\n", table }
