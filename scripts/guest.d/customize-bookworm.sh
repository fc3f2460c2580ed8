#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Run by mmdebstrap with the new tree as $1, while its package lists are there: the source
# package of its kernel is downloaded (not installed) to /sources, because the kselftest
# framework is nowhere else.
set -eu
tree=$1

mkdir -p "$tree/sources" "$tree/payload"
source=$(basename "$tree"/usr/lib/modules/* | sed 's/^\([0-9]*\.[0-9]*\).*/linux-source-\1/')
chroot "$tree" env -C /sources apt-get -o APT::Sandbox::User=root -qq download "$source"
