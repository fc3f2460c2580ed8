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
# 3. The bpftrace of Debian 12 goes to /opt/bpftrace-0.17, with its libraries and a
#    wrapper: the scripts of bpf/ are for it, too. Its suite stays out of the tree's apt.
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

old=opt/bpftrace-0.17
mkdir -p "$tree/$old/apt/lists/partial" "$tree/$old/apt/cache/archives/partial" "$tree/$old/lib"
: >"$tree/$old/apt/status"
cat "$tree"/etc/apt/sources.list "$tree"/etc/apt/sources.list.d/*.list 2>/dev/null |
	sed -n 's/ trixie main.*/ bookworm main/p' | head -n 1 >"$tree/$old/apt/sources"
[ -s "$tree/$old/apt/sources" ] || { echo "no line of trixie main to make bookworm of" >&2; exit 1; }

old_apt()
{
	in_tree apt-get -qq -y -o APT::Sandbox::User=root --no-install-recommends \
		-o "Dir::Etc::SourceList=/$old/apt/sources" -o Dir::Etc::SourceParts=/dev/null \
		-o "Dir::State=/$old/apt" -o "Dir::State::Status=/$old/apt/status" \
		-o "Dir::Cache=/$old/apt/cache" "$@"
}

# The C library is the tree's: it serves older programs, and its loader is the one in use.
old_apt update
old_apt --download-only install bpftrace
for deb in "$tree/$old/apt/cache/archives"/*.deb; do
	case ${deb##*/} in
	libc6_*) ;;
	*) dpkg-deb -x "$deb" "$tree/$old/apt/unpacked" ;;
	esac
done
find "$tree/$old/apt/unpacked" -name '*.so*' \( -type f -o -type l \) \
	-path '*/x86_64-linux-gnu/*' -exec mv {} "$tree/$old/lib" \;
mv "$tree/$old/apt/unpacked/usr/bin/bpftrace" "$tree/$old/bpftrace.bin"
rm -rf "$tree/${old:?}/apt"
cat >"$tree/$old/bpftrace" <<EOF
#!/bin/sh
LD_LIBRARY_PATH=/$old/lib exec /$old/bpftrace.bin "\$@"
EOF
chmod 755 "$tree/$old/bpftrace"
in_tree "/$old/bpftrace" --version >/dev/null
