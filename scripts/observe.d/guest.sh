#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# In the guest: observe.sh, then what it left goes out through the virtio port.
#
#	guest.sh observe [OPTION]... SCRIPT... -- command...	observe.sh without OUT
#	guest.sh send		what an observation that was killed has left
#
# A line from the host ends the observation as Ctrl-C would. The tar's last member,
# "manifest", has the size of all others: a transfer without it is not whole.

HERE=$(cd "$(dirname "$0")" && pwd)
OUT=/tmp/observation
SENT=/tmp/observation.sent
PORT=

for name in /sys/class/virtio-ports/*/name; do
	[ "$(cat "$name")" = hotmirror.files ] || continue
	PORT=${name%/name}
	PORT=/dev/${PORT##*/}
done
if [ ! -c "$PORT" ]; then
	echo "the guest has no port for files" >&2
	exit 2
fi

send() {
	cd "$OUT" || exit 2
	# Whatever else a session that was killed has left: a pipe would be waited for.
	find . -maxdepth 1 ! -type f ! -name . -exec rm -rf {} +
	rm -f manifest
	wc -c -- * | sed '/ total$/d' >/tmp/manifest
	tar -cf /tmp/observation.tar -- *
	tar -rf /tmp/observation.tar -C /tmp manifest
	cat /tmp/observation.tar >&9 && touch "$SENT"
}

observe() {
	local options=()

	while [ "${1#-}" != "$1" ]; do
		options+=("$1")
		[ "$1" = -s ] && options+=("$2") && shift
		shift
	done
	mkdir -p "$OUT"
	"$HERE/observe.sh" "${options[@]}" "$OUT" "$@" 9<&- &
	observer=$!
	{ read -r _ && kill -TERM "$observer"; } <&9 &
	wait "$observer"
	status=$?
	kill $! 2>/dev/null
	return $status
}

exec 9<>"$PORT"
case $1 in
observe)
	shift
	observe "$@"
	status=$?
	send
	exit $status
	;;
send)
	[ -e "$SENT" ] || send
	;;
esac
