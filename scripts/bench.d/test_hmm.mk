# SPDX-License-Identifier: GPL-2.0-only
#
# Out-of-tree build of upstream's test_hmm.ko: hotmirror/test_hmm.py puts this, as
# Makefile, beside lib/test_hmm.c of a kernel source.

obj-m := test_hmm.o

ifeq ($(KERNELRELEASE),)
all:
	$(MAKE) -C '$(KDIR)' M='$(CURDIR)' modules
endif
