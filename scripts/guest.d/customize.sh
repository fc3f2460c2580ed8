#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Run by mmdebstrap with the new tree as $1, while its package lists are there.
#
# 1. The kernel that plain Debian stable would install goes beside the one from
#    backports. apt takes a package by name from one suite only, so the name comes
#    from the dependencies of stable's linux-image-amd64.
# 2. The source packages of both are downloaded (not installed) to /sources: the
#    kselftest framework is nowhere else.
set -eu
tree=$1
export DEBIAN_FRONTEND=noninteractive INITRD=No

in_tree()
{
	chroot "$tree" "$@"
}

stable=$(in_tree apt-cache show linux-image-amd64/trixie |
	sed -n 's/^Depends:.*\(linux-image-[0-9][^ ,]*\).*/\1/p' | head -n 1)
[ -n "$stable" ] || { echo "no kernel behind linux-image-amd64 of trixie" >&2; exit 1; }
in_tree apt-get -y -qq install "$stable" "linux-headers-${stable#linux-image-}"

mkdir -p "$tree/sources" "$tree/payload"
sources=$(for directory in "$tree"/usr/lib/modules/*; do
	basename "$directory" | sed 's/^\([0-9]*\.[0-9]*\).*/linux-source-\1/'
done | sort -u)
# shellcheck disable=SC2086 # one word a package
in_tree sh -c 'cd /sources && apt-get -o APT::Sandbox::User=root -qq download "$@"' sh $sources
