# SPDX-License-Identifier: Apache-2.0
BEGIN { print "// Made by fake/runtime/lookups.awk. DO NOT EDIT.\nstatic const struct {\n  const char *name;\n  int version, flags;\n} look_ups[] = {" }
/^#/ { next }
{ printf "    {\"%s\", %d, %d},\n", $1 == "-" ? "" : $1, $2, $3; n++ }
END { printf "};\nenum { LOOK_UPS = %d };\n", n }
