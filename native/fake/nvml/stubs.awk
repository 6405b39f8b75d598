# SPDX-License-Identifier: Apache-2.0
# nvml/symbols.txt -> a weak stub for every exported name; the fake's own functions win over it.
BEGIN { print "// Made by fake/nvml/stubs.awk. DO NOT EDIT.\nint fake_nvml_stub(const char *name);" }
/^#/ { next }
{
  printf "__attribute__((weak, visibility(\"default\"))) int %s(void);\n", $1
  printf "__attribute__((weak, visibility(\"default\"))) int %s(void) { return fake_nvml_stub(\"%s\"); }\n", $1, $1
}
