# SPDX-License-Identifier: GPL-2.0-only
"""The self-test of scripts/lint: every check refuses an input that is bad in its way.

The bad input of a check is a whole small project. It is good in every other respect, so
that nothing but the check itself can be what refuses it; the good project below passes
all of them.
"""

from . import kernels, lint
from .say import say

C = "// SPDX-License-Identifier: GPL-2.0-only\n"
HASH = "# SPDX-License-Identifier: GPL-2.0-only\n"

MODULE = C + """#include <linux/module.h>
#include <linux/uaccess.h>

static int __user *place;
static int value;

static int __init good_init(void)
{
%s
	return 0;
}
module_init(good_init);

MODULE_DESCRIPTION("Nothing");
MODULE_LICENSE("GPL");
"""

PROGRAM = C + """int main(int argc, char **argv)
{
%s
	return argc + !argv;
}
"""

HARNESS = C + """#include "kselftest_harness.h"

TEST(is_good)
{
	EXPECT_EQ(0, 0);
}

TEST_HARNESS_MAIN
"""

README = """| program | what it proves |
|---|---|
| `good` | `good:global.is_*` |

Run `TESTS='good:*.is_good'`: `good:global.*` (fine).
"""

STATE = C + """const char * const names[][1] = {
	[0] = { "fine", },
};
"""

GOOD = {
    "test_driver/Kbuild": HASH + "obj-m := good.o\n",
    "test_driver/Makefile": HASH + "all:\n\t$(MAKE) -C '$(KDIR)' M='$(CURDIR)' modules\n",
    "test_driver/good.c": MODULE % "\tif (get_user(value, place))\n\t\treturn -EFAULT;",
    "selftests/Makefile": HASH + "CFLAGS += -I$(KSFT) -Wno-unused-parameter -Wno-clobbered\n"
                                 "TEST_GEN_PROGS := good\ninclude $(KSFT)/lib.mk\n",
    "selftests/README.md": README,
    "selftests/good.c": HARNESS,
    "selftests/cpu/state.c": STATE,
    "scripts/good.c": PROGRAM % "",
    "scripts/good": "#!/bin/sh\n" + HASH + 'echo "$1"\n',
    "scripts/good.py": HASH + "import os\n",
}
GOOD = {name: text.replace("{\n\n", "{\n") for name, text in GOOD.items()}

# check, or check/in which way -> what makes the good project bad
BAD = {
    "spdx": {"scripts/bad.py": "import os\n"},
    "whitespace": {"scripts/bad.py": HASH + "import os \n"},
    "registry_host": {"scripts/bad.py": HASH + "FROM = 'mir" + "ror.example.org'\n"},
    "file_size": {"scripts/bad.py": HASH + "import os\n" * lint.MAX_LINES},
    "python": {"scripts/bad.py": HASH + "import requests\n"},
    "shellcheck": {"scripts/bad": "#!/bin/sh\n" + HASH + "rm $1\n"},
    "checkpatch": {"scripts/bad.c": C + "int f( int x );\n"},
    # set but not used: gcc is silent about it without W=1
    "w1": {"test_driver/good.c": MODULE % "\tint unused;\n\n\tunused = 1;"
                                          "\n\tif (get_user(value, place))\n\t\treturn -EFAULT;"},
    "sparse": {"test_driver/good.c": MODULE % "\tvalue = *place;"},
    "collections": {"selftests/good.c": PROGRAM % "\tunsigned int unused;\n"},
    "user_c": {"scripts/good.c": PROGRAM % "\tunsigned int unused;\n"},
    "readme/test": {"selftests/README.md": README.replace("is_*", "was_*")},
    "readme/command": {"selftests/README.md": README.replace("is_good'", "was_good'")},
    "readme/program": {"selftests/README.md": README.replace("| `good`", "| good")},
    "readme/row": {"selftests/README.md": README + "| `gone` | |\n"},
    "readme/state": {"selftests/README.md": README.replace("(fine)", "(fine, bad)")},
}


def _contents(overlay):
    return {name: text.encode() for name, text in {**GOOD, **overlay}.items()}


def _once():
    """Every check once, for the newest kernel."""
    return [check for check in lint.CHECKS if check.pick in (None, kernels.newest)]


def run_all(report):
    say("lint: self-test")
    with lint.bench(_contents({})) as b:
        complaints = [f"{check.name}: {line}" for check in _once() for line in check.run(b)]
    report.add("negative.good_input_passes", complaints)
    for check in _once():
        kind = check.name.partition(".")[0]
        for way in [way for way in BAD if way.partition("/")[0] == kind]:
            with lint.bench(_contents(BAD[way])) as b:
                refused = check.run(b)
            report.add(f"negative.{way.replace('/', '_')}_refuses",
                       [] if refused else [f"{check.name} accepts {', '.join(BAD[way])}"])
